import type { ExitStatus } from '../copies/runtime.ts';

/** The largest signal number of Linux. */
const largestSignal = 64;
const sigkill = 9;

export interface ObservedExit {
  /** As the runtime tells it: 128 + n for a process that signal n ended. */
  readonly status: number;
  readonly finishTimeMs: number;
  /** How many processes of the container the kernel killed for want of memory. */
  readonly oomKills: number;
  /** Berth itself sent SIGKILL: that this is what it died of says nothing about memory. */
  readonly killed: boolean;
}

/** How a main process ended. A process that itself ends with 128 + n cannot be told from one that was signalled: it is taken as signalled. */
export function exitStatus({ status, finishTimeMs, oomKills, killed }: ObservedExit): ExitStatus {
  const signal = status > 128 && status <= 128 + largestSignal ? status - 128 : 0;
  return { code: status, signal, oomKilled: oomKills > 0 && signal === sigkill && !killed, finishTimeMs, lost: false };
}

/** A process that ended and nobody saw how. */
export function lostExit(finishTimeMs: number): ExitStatus {
  return { code: 255, signal: 0, oomKilled: false, finishTimeMs, lost: true };
}
