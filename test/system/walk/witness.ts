import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cgroupMounts } from '../../harness/cgroups.ts';
import { processRef } from '../../harness/processes.ts';
import type { Runner } from '../../harness/runner.ts';

/** A main program, of a copy on a runner. */
interface Running {
  readonly runner: string;
  readonly pid: number;
  readonly startTime: number;
}

/**
 * Looks at the kernel alone, again and again: which sandboxes have a main program that runs, on any runner. Neither agents nor containerd nor the
 * API server are asked, so that it sees what they do not know of.
 */
export class Witness {
  /** Sentences about every sandbox that was seen running twice at the same time. */
  readonly twice = new Set<string>();
  /** By uid, each start that was seen. Short ones may be missed. */
  readonly starts = new Map<string, Set<string>>();
  readonly #runners: readonly Runner[];
  readonly #hierarchy: string;
  readonly #watching: Promise<void>;
  #isOver = false;

  constructor(runners: readonly Runner[]) {
    this.#runners = runners;
    this.#hierarchy = cgroupMounts().find((mount) => mount.endsWith('/pids')) ?? '/sys/fs/cgroup';
    this.#watching = this.#watch();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      this.#look();
      await delay(20);
    }
  }

  #look(): void {
    const running = new Map<string, Running[]>();
    for (const runner of this.#runners) {
      for (const copy of directoriesIn(join(this.#hierarchy, runner.cgroupParent))) {
        const uid = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(copy)?.[0];
        if (uid === undefined) continue;
        for (const main of mainPrograms(join(this.#hierarchy, runner.cgroupParent, copy)))
          running.set(uid, [...(running.get(uid) ?? []), { runner: runner.name, ...main }]);
      }
    }
    for (const [uid, mains] of running) {
      const seen = this.starts.get(uid) ?? new Set();
      for (const { runner, pid, startTime } of mains) seen.add(`${runner}/${pid}/${startTime}`);
      this.starts.set(uid, seen);
      if (mains.length > 1) this.twice.add(`${uid} runs as ${mains.map(({ runner, pid }) => `process ${pid} on ${runner}`).join(' and ')}`);
    }
  }
}

/** The first processes of containers whose program is the sandbox's own, not the runtime's that waits to become it. */
function mainPrograms(cgroup: string): readonly { readonly pid: number; readonly startTime: number }[] {
  return pidsIn(cgroup)
    .filter((pid) => /^NSpid:(?:\t\d+)*\t1$/m.test(read(`/proc/${pid}/status`)) && programOf(pid).endsWith('/busybox'))
    .map((pid) => processRef(pid))
    .filter((found) => found !== undefined);
}

function pidsIn(cgroup: string): readonly number[] {
  return read(join(cgroup, 'cgroup.procs'))
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

/** What is gone in the moment of reading is not there. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function programOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return '';
  }
}

function directoriesIn(path: string): readonly string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}
