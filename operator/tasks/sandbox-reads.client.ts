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

/** Sandboxes as the API server has them now, for callers that wait. Nobody is told what another asked before: it may be older than what the caller has seen. */
export class SandboxReads {
  readonly #transport: Pick<KubeTransport, 'get'>;
  #underWay = 0;

  constructor(transport: Pick<KubeTransport, 'get'>) {
    this.#transport = transport;
  }

  /** Undefined: there is none. @throws ApiError `SandboxUnavailable` when that can not be known now. */
  async read(ref: SandboxRef): Promise<Sandbox | undefined> {
    if (this.#underWay >= mostReads) throw new ApiError('SandboxUnavailable', 'Too many callers wait for sandboxes to be looked up.');
    this.#underWay += 1;
    try {
      return readSandbox(await this.#transport.get(sandboxResource, ref, { timeoutMs }));
    } catch (cause) {
      if (isKubeError(cause, 'NotFound')) return undefined;
      throw new ApiError('SandboxUnavailable', `The sandbox can not be looked up now: ${messageOf(cause)}`, { cause });
    } finally {
      this.#underWay -= 1;
    }
  }
}
