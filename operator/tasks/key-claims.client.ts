import { v4 as uuid } from 'uuid';
import { isKubeError } from '../../kube/errors.ts';
import type { KubeObject, KubeTransport, Resource } from '../../kube/types.ts';
import { isAborted } from '../../process/abort.ts';
import { sleep, type Clock } from '../../process/clock.ts';
import { sha256Hex } from '../../process/digest.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { ApiError } from '../http/errors.ts';

/** Where what a key was used for has its slot: written before anything is sent there under it. */
export interface Placement {
  readonly runnerName: string;
  readonly reservationID: string;
}

/** A key that belongs to one request of one caller, whoever of its retries came first. */
export interface KeyClaim {
  readonly name: string;
  /** Chosen by who came first: every retry runs this very task. */
  readonly taskUuid: string;
  readonly placement: Placement | undefined;
  readonly resourceVersion: string;
  readonly ageMs: number;
}

export interface KeyClaimsOptions {
  readonly transport: Pick<KubeTransport, 'create' | 'get' | 'patch' | 'delete' | 'list'>;
  /** Namespace of the operator, where the claims are. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const resource: Resource = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };
const label = 'berth.dev/idempotency-key';
/** A key is remembered so long. Agents keep results as long from the end of a task on, so that they outlive the key. */
export const keyMs = 15 * 60_000;
const timeoutMs = 5_000;
const sweepMs = 60_000;

/**
 * Claims of Idempotency-Keys that no agent can hold, because it is not known yet which: an object in the API server for each, named by a hash of caller and
 * key. Who creates it first has it; the retries find it, through whatever pod they come. Everything rejects with `ClaimUnavailable` while the API server
 * does not answer.
 */
export class KeyClaims {
  readonly #options: KeyClaimsOptions;

  constructor(options: KeyClaimsOptions) {
    this.#options = options;
  }

  /** @throws ApiError `IdempotencyConflict`, `ClaimUnavailable` */
  async claim(caller: string, key: string, bodyHash: string): Promise<KeyClaim> {
    const { transport, namespace } = this.#options;
    const name = `berth-key-${sha256Hex(JSON.stringify([caller, key])).slice(0, 40)}`;
    return this.#orUnavailable(async () => {
      const metadata = { name, namespace, labels: { [label]: 'true' } };
      const data = { bodyHash, taskUuid: uuid(), time: new Date(this.#options.clock.now()).toISOString() };
      try {
        return this.#read(
          await transport.create(resource, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data } as never, { timeoutMs }),
          bodyHash,
        );
      } catch (error) {
        if (!isKubeError(error, 'AlreadyExists')) throw error;
      }
      return this.#read(await transport.get(resource, { name, namespace }, { timeoutMs }), bodyHash);
    });
  }

  /** Says where it lies, if nobody has said so yet. Undefined: the claim was changed meanwhile, read it again. */
  async place(claim: KeyClaim, placement: Placement | undefined): Promise<KeyClaim | undefined> {
    const { transport, namespace } = this.#options;
    const { name, resourceVersion } = claim;
    const data = { runnerName: placement?.runnerName ?? null, reservationID: placement?.reservationID ?? null };
    return this.#orUnavailable(async () => {
      try {
        const patch = { type: 'merge', body: { metadata: { resourceVersion }, data } } as const;
        const written = await transport.patch(resource, { name, namespace }, patch, { timeoutMs });
        return { ...claim, placement, resourceVersion: written.metadata.resourceVersion };
      } catch (error) {
        if (isKubeError(error, 'Conflict') || isKubeError(error, 'NotFound')) return undefined;
        throw error;
      }
    });
  }

  /** Forgets an expired claim, if it is still this one. */
  async forget({ name, resourceVersion }: Pick<KeyClaim, 'name' | 'resourceVersion'>): Promise<void> {
    const { transport, namespace } = this.#options;
    await this.#orUnavailable(async () => {
      try {
        await transport.delete(resource, { name, namespace }, { preconditions: { resourceVersion }, timeoutMs });
      } catch (error) {
        if (!isKubeError(error, 'Conflict') && !isKubeError(error, 'NotFound')) throw error;
      }
    });
  }

  /** Removes expired claims until the signal is aborted. `isOver` says of one that was placed whether its task is known no longer. */
  async run(signal: AbortSignal, isOver: (claim: KeyClaim) => Promise<boolean>): Promise<void> {
    const { clock, log } = this.#options;
    while (!isAborted(signal)) {
      await sleep(clock, sweepMs, signal).catch(() => undefined);
      if (isAborted(signal)) return;
      await this.#sweep(isOver).catch((err: unknown) => log.warn({ err }, 'Expired keys not removed'));
    }
  }

  async #sweep(isOver: (claim: KeyClaim) => Promise<boolean>): Promise<void> {
    const { transport, namespace } = this.#options;
    const { items } = await transport.list(resource, { namespace, labelSelector: `${label}=true`, limit: 1_000 });
    for (const item of items) {
      const claim = this.#claimOf(item);
      if (claim.ageMs > keyMs && (claim.placement === undefined || (await isOver(claim)))) await this.forget(claim);
    }
  }

  #read(object: KubeObject, bodyHash: string): KeyClaim {
    if (dataOf(object).bodyHash !== bodyHash) throw new ApiError('IdempotencyConflict');
    return this.#claimOf(object);
  }

  #claimOf(object: KubeObject): KeyClaim {
    const { name, resourceVersion } = object.metadata;
    const { taskUuid = '', runnerName, reservationID, time = '' } = dataOf(object);
    const created = Date.parse(time);
    return {
      ...{ name, taskUuid, resourceVersion },
      placement: runnerName === undefined || reservationID === undefined ? undefined : { runnerName, reservationID },
      ageMs: Number.isNaN(created) ? 0 : this.#options.clock.now() - created,
    };
  }

  async #orUnavailable<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError('ClaimUnavailable', `The Idempotency-Key can not be claimed now: ${messageOf(error)}`, { cause: error });
    }
  }
}

function dataOf(object: KubeObject): Readonly<Record<string, string | undefined>> {
  return (object as { readonly data?: Readonly<Record<string, string>> }).data ?? {};
}
