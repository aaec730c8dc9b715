import { readFile, statfs } from 'node:fs/promises';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { isSameMachine, reportMachine, type MachineReport, type MachineUse } from './machine-report.ts';

export interface MachineWatchOptions {
  /** A directory on the file system with the sandboxes. */
  readonly directory: string;
  /** What is to be published has changed. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** How often it is looked, in milliseconds. Default 10,000. */
  readonly everyMs?: number;
  /** Default: the kernel. */
  readonly read?: (directory: string) => Promise<MachineUse>;
}

/** Looks again and again at how full the machine is. */
export class MachineWatch {
  readonly #options: MachineWatchOptions;
  #report: MachineReport | undefined;
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: MachineWatchOptions) {
    this.#options = options;
  }

  /** Undefined while it was not looked yet. */
  report(): MachineReport | undefined {
    return this.#report;
  }

  /** Looks now, and goes on looking. */
  start(): void {
    const { clock, log, everyMs = 10_000 } = this.#options;
    this.#look()
      .catch((error: unknown) => log.warn({ said: messageOf(error) }, 'The use of the machine could not be read'))
      .finally(() => {
        if (!this.#hasEnded) this.#timer = clock.after(everyMs, () => this.start());
      });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { directory, clock, onChange, read = readMachine } = this.#options;
    const before = this.#report;
    this.#report = reportMachine(before, await read(directory), clock.monotonic());
    if (!isSameMachine(before, this.#report)) onChange();
  }
}

/** What the kernel says. */
export async function readMachine(directory: string): Promise<MachineUse> {
  const [disk, meminfo, loadavg, pidMax, threadsMax] = await Promise.all([
    statfs(directory),
    readFile('/proc/meminfo', 'utf8'),
    readFile('/proc/loadavg', 'utf8'),
    readFile('/proc/sys/kernel/pid_max', 'utf8'),
    readFile('/proc/sys/kernel/threads-max', 'utf8'),
  ]);
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1] ?? 0);
  const memory = kilobytes('MemTotal') * 1024;
  const usedBlocks = disk.blocks - disk.bfree;
  return {
    memory: { used: memory - kilobytes('MemAvailable') * 1024, total: memory },
    // As df counts: what is kept for root is not there.
    disk: { used: usedBlocks * disk.bsize, total: (usedBlocks + disk.bavail) * disk.bsize },
    inodes: { used: disk.files - disk.ffree, total: disk.files },
    pids: { used: Number(/ \d+\/(\d+) /.exec(loadavg)?.[1] ?? 0), total: Math.min(Number(pidMax), Number(threadsMax)) },
  };
}
