"""Landmarks and head pose from a picture, learned from exact labels.

shards ─► train ─► network folder ─► evaluate: errors by yaw, of visible and hidden points

python -m recipes.landmarks train|evaluate
"""
