/**
 * Options of Node with which the operator is started, wherever that is. Young objects get 2 × 8 MiB: without a bound Node lets them have
 * 2 × 64 MiB on a large machine, once a list or a burst of events has passed, and never gives it back. Garbage is collected when the heap has
 * grown by 40 %: by itself V8 lets it become four times what is in use, and an operator that has become idle allocates too little for the
 * next collection to come.
 */
export const operatorNodeOptions: readonly string[] = ['--enable-source-maps', '--max-semi-space-size=8', '--heap-growing-percent=40'];
