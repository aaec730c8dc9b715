head -c 100000 /dev/zero > /work/output.txt
