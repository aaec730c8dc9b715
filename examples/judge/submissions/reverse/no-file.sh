tac /work/input.txt
