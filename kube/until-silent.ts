import type { Clock } from '../process/clock.ts';
import type { WatchEvent } from './types.ts';

export interface UntilSilentOptions {
  /** Opens the watch; ends when its signal is aborted. */
  readonly watch: (signal: AbortSignal) => AsyncIterable<WatchEvent>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long the watch may say nothing, asked anew after every event. */
  readonly silenceMs: () => number;
  /** Called when it was ended for that. */
  readonly silent: () => void;
}

/** The events of a watch until it ends, the signal is aborted, or nothing came for `silenceMs`: the connection may be half-open. */
export async function* untilSilent({ watch, clock, signal, silenceMs, silent }: UntilSilentOptions): AsyncGenerator<WatchEvent, void> {
  const inner = new AbortController();
  const abort = () => inner.abort(signal.reason);
  const arm = () =>
    clock.after(silenceMs(), () => {
      silent();
      inner.abort(new Error('the watch fell silent'));
    });
  if (signal.aborted) return;
  signal.addEventListener('abort', abort, { once: true });
  let timer = arm();
  try {
    for await (const event of watch(inner.signal)) {
      timer.cancel();
      if (inner.signal.aborted) return;
      yield event;
      timer = arm();
    }
  } catch (error) {
    if (!inner.signal.aborted) throw error;
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', abort);
  }
}
