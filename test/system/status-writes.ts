import { execa } from 'execa';
import { isDeepStrictEqual } from 'node:util';
import type { Sandbox } from '../../crds/sandbox.ts';
import type { User } from './user.ts';

interface WatchedEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Sandbox;
}

/** Follows one sandbox by `kubectl get --watch` from the moment it is made until `stop`. */
export class StatusWrites {
  readonly #events: WatchedEvent[] = [];
  readonly #abort = new AbortController();
  readonly #done: Promise<unknown>;

  constructor({ program, kubeconfig }: Pick<User, 'program' | 'kubeconfig'>, name: string, namespace = 'default') {
    const args = [
      'get',
      'sandboxes',
      '-n',
      namespace,
      '--field-selector',
      `metadata.name=${name}`,
      '--watch',
      '--output-watch-events',
      '-o',
      'json',
    ];
    const child = execa(program, args, { env: { KUBECONFIG: kubeconfig }, reject: false, buffer: false, cancelSignal: this.#abort.signal });
    this.#done = this.#read(child.iterable());
  }

  /** The statuses that were written, in order: of every change seen so far, those in which the status differs from the one before. */
  written(): readonly Sandbox['status'][] {
    return this.#events
      .filter(({ type, object }, index) => type === 'MODIFIED' && !isDeepStrictEqual(object.status, this.#events[index - 1]?.object.status))
      .map(({ object }) => object.status);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done.catch(() => undefined);
  }

  /** kubectl prints each event as indented JSON: a line that is only `}` ends one. */
  async #read(lines: AsyncIterable<unknown>): Promise<void> {
    let document = '';
    for await (const line of lines) {
      document += String(line);
      if (line !== '}') continue;
      this.#events.push(JSON.parse(document) as WatchedEvent);
      document = '';
    }
  }
}
