# Not to itself: the first program of a container does not die of what it sends itself.
sh -c 'kill -SEGV $$'
