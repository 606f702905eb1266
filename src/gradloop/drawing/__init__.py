"""Pictures of a run, from plain numbers: nothing here imports torch."""

# Okabe & Ito 2008: told apart with any colour vision, and in grey
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BLACK, GREY = "#000000", "#707070"
COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY)  # of curves, one after the other
RIGHT, WRONG = "#00694D", "#A84A00"  # text on white: a contrast of 4.5 at least
