tac /work/input.txt > /work/output.txt
