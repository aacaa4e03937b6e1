"""What a dataset can promise about itself: identities apart and balanced, labels that hold, nobody's photo.

centre, canonical   one standard picture of each identity, and what f_id says of it
separation          a set of identities no two of which are nearer than a distance
balance             equal numbers per bin of an attribute
choice              both together: which draws become a dataset's identities
capacity            how many apart identities a generator can make
"""
