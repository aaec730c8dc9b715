/** Whether the signal is aborted by now: as a call, since the answer changes while one awaits. */
export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted ?? false;
}
