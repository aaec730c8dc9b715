import type { Sandbox } from '../../crds/index.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { KubeTransport } from '../../kube/types.ts';
import { messageOf } from '../../process/errors.ts';
import { ApiError } from '../http/errors.ts';
import { readSandbox, sandboxResource } from '../resources.ts';
import type { SandboxRef } from './gather.ts';

/** A caller waits for it. */
const timeoutMs = 5_000;
/** At once: what writes for the sandboxes uses the same connections. */
const mostReads = 16;

/** Sandboxes as the API server has them now, for callers that wait: the same one is asked for once at a time. */
export class SandboxReads {
  readonly #transport: Pick<KubeTransport, 'get'>;
  readonly #underWay = new Map<string, Promise<Sandbox | undefined>>();

  constructor(transport: Pick<KubeTransport, 'get'>) {
    this.#transport = transport;
  }

  /** Undefined: there is none. @throws ApiError `SandboxUnavailable` when that can not be known now. */
  async read(ref: SandboxRef): Promise<Sandbox | undefined> {
    const key = `${ref.namespace}/${ref.name}`;
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    if (this.#underWay.size >= mostReads) throw new ApiError('SandboxUnavailable', 'Too many callers wait for sandboxes to be looked up.');
    const read = this.#ask(ref).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, read);
    return read;
  }

  async #ask(ref: SandboxRef): Promise<Sandbox | undefined> {
    try {
      return readSandbox(await this.#transport.get(sandboxResource, ref, { timeoutMs }));
    } catch (cause) {
      if (isKubeError(cause, 'NotFound')) return undefined;
      throw new ApiError('SandboxUnavailable', `The sandbox can not be looked up now: ${messageOf(cause)}`, { cause });
    }
  }
}
