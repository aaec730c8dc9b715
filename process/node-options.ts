/**
 * Options of Node with which the operator is started, wherever that is. Young objects get 2 × 8 MiB: without a bound Node lets them have
 * 2 × 64 MiB on a large machine, once a list or a burst of events has passed, and never gives it back.
 */
export const operatorNodeOptions: readonly string[] = ['--enable-source-maps', '--max-semi-space-size=8'];
