"""What the recipes share: reading shards as batches, changing pictures, and the training loop.

shards ─► stream.Batches ─► loop.train(task) ─► network folder
          (pictures.augment)
"""
