"""Tools of the chart: fetch the programs that render it, render it, generate what follows from its values."""
