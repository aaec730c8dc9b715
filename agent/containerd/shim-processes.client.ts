import type { ContainerdConnection } from './connection.client.ts';
import { founderIn, type Shim } from './leftovers.ts';
import { commandLineOf, hasChildren, processesNamed, statOf } from './machine-processes.client.ts';
import { sendSignal } from './signal.client.ts';

/** The name of a shim's process, of which the kernel keeps 15 characters. */
const shimName = 'containerd-shim';

/** The shims of a containerd and its namespace, as processes: containerd tells of none. Needs to see the machine's processes. */
export class ShimProcesses {
  readonly #serving: Pick<ContainerdConnection, 'address' | 'namespace'>;

  /** `address`: the socket under the path that containerd calls it by. */
  constructor(serving: Pick<ContainerdConnection, 'address' | 'namespace'>) {
    this.#serving = serving;
  }

  async list(): Promise<readonly Shim[]> {
    const found = await Promise.all((await processesNamed(shimName)).map((pid) => this.#shimIn(pid)));
    return found.filter((shim) => shim !== undefined);
  }

  /**
   * Asks this very process to end, which removes its socket, too. False when it is not there any more, or has a process below it, as every
   * container and every call of the OCI runtime is one.
   */
  async end(shim: Shim): Promise<boolean> {
    const { pid, started, founder } = shim;
    if (await hasChildren(pid)) return false;
    const now = await this.#shimIn(pid);
    if (now?.founder !== founder || now.started !== started) return false;
    sendSignal(pid, 'SIGTERM');
    return true;
  }

  async #shimIn(pid: number): Promise<Shim | undefined> {
    const [stat, commandLine] = await Promise.all([statOf(pid), commandLineOf(pid)]);
    const founder = founderIn(commandLine, this.#serving);
    return stat === undefined || founder === undefined ? undefined : { pid, started: stat.started, founder };
  }
}
