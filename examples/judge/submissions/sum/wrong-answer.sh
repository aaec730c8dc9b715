read -r a b
# Forgets the sign.
echo $((${a#-} + b))
