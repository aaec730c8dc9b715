while :; do echo too much; done
