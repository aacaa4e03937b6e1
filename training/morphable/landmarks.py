"""Landmarks as vertices of the MakeHuman base mesh hm08, in the order of iBUG 300-W (0 at the subject's right ear).

Found by detecting 468 face-mesh points on a rendering of the head at rest, made symmetric and snapped to vertices.
"""

IBUG68 = (
    # jaw line, from the subject's right ear over the chin to the left
    *(5426, 5763, 5092, 5241, 894, 915, 5294, 5221, 5171, 11831, 11900, 7617, 7596, 11850, 11707, 12360, 12025),
    # right brow, left brow
    *(5261, 5260, 231, 223, 208),
    *(6983, 6997, 7004, 11868, 11869),
    # nose: bridge, base
    *(132, 5063, 5134, 5054),
    *(381, 313, 312, 7076, 7141),
    # right eye, left eye
    *(22, 4849, 55, 4871, 4862, 1067),
    *(11489, 6839, 11467, 6806, 7759, 11480),
    # outer lips, inner lips
    *(412, 5352, 458, 466, 7217, 11954, 7172, 7239, 7241, 492, 486, 484),
    *(415, 462, 468, 7221, 7175, 7242, 493, 487),
)
