import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';

export interface ShutdownOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** All steps together may take so long, then the process exits with 1. Default 25,000, below the 30 s that Kubernetes gives. */
  readonly deadlineMs?: number;
  /** Tests replace it. */
  readonly host?: ShutdownHost;
}

/** What a shutdown needs of the process. */
export interface ShutdownHost {
  on(event: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
  on(event: 'uncaughtException' | 'unhandledRejection', listener: (error: unknown) => void): unknown;
  exit(code: number): void;
}

/** The ordered end of a process. */
export interface Shutdown {
  /** Aborted when the end begins. */
  readonly signal: AbortSignal;
  /** Adds a step. Steps run one after the other, the last added first, so that each still finds what was there before it. */
  add(name: string, step: () => Promise<void> | void): void;
  /** Begins the end; the process exits with `code`, or 1 when the deadline passes. Further calls change nothing. */
  begin(reason: string, code?: number): Promise<void>;
}

/**
 * Ends the process in order at SIGTERM or SIGINT; a second signal ends it at once. An exception that nobody caught, or a rejection
 * that nobody handled, is logged and ends it too, with code 1: its state can no longer be trusted.
 */
export function createShutdown(options: ShutdownOptions): Shutdown {
  const { clock, log, deadlineMs = 25_000, host = process } = options;
  const controller = new AbortController();
  const steps: { readonly name: string; readonly step: () => Promise<void> | void }[] = [];
  let ending: Promise<void> | undefined;

  const end = async (reason: string, code: number) => {
    log.info({ reason }, 'Shutting down');
    const timer = clock.after(deadlineMs, () => {
      log.error({ deadlineMs }, 'Shutdown took too long');
      host.exit(1);
    });
    controller.abort(new Error(`shutting down: ${reason}`));
    for (let last = steps.pop(); last !== undefined; last = steps.pop()) {
      try {
        await last.step();
        log.debug({ step: last.name }, 'Shutdown step done');
      } catch (err) {
        log.error({ step: last.name, err }, 'Shutdown step failed');
      }
    }
    timer.cancel();
    host.exit(code);
  };
  const begin = (reason: string, code = 0) => (ending ??= end(reason, code));

  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    host.on(name, () => {
      if (ending === undefined) void begin(name);
      else host.exit(1);
    });
  }
  for (const name of ['uncaughtException', 'unhandledRejection'] as const) {
    host.on(name, (err) => {
      log.error({ err }, 'Crashed');
      void begin(name, 1);
    });
  }
  return { signal: controller.signal, add: (name, step) => void steps.push({ name, step }), begin };
}
