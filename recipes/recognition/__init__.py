"""Face recognition: train a network straight from the shards, and measure it on verification pairs.

shards ─► train ─► network folder ─┐
pairs: a dataset's, LFW's, .bin ───┴─► descriptors ─► scores ─► verification + conditions ─► JSON, HTML

python -m recipes.recognition train|evaluate|study
"""
