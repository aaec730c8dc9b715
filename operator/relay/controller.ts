import type { AgentMessage, OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { RelayMessage, RelayWelcome } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import type { Runner } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Hub } from '../hub/controller.ts';
import type { StreamReceiver } from '../hub/stream.ts';
import type { Peers } from '../peers/controller.ts';
import { RELAY_VERSION, type PeerDialer, type PeerStream } from './stream.ts';

export interface RelaysOptions {
  /** The other operator pods, as host:port. This pod's own address may be among them. */
  readonly peers: Pick<Peers, 'subscribe'>;
  readonly dialer: PeerDialer;
  readonly hub: Pick<Hub, 'acceptRelayed' | 'reach' | 'subscribe'>;
  readonly runners: Pick<Cache<Runner>, 'get' | 'list' | 'subscribe'>;
  readonly operatorName: string;
  readonly operatorVersion: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const reconnect = { initialMs: 250, maxMs: 15_000, jitter: 0.5 };
/** A stream that lasted so long was a good one: the next try after it comes soon. */
const goodMs = 10_000;
const handshakeMs = 10_000;
/** A runner whose relay failed is asked for again so much later, and up to a fifth more. */
const pauseMs = 5_000;
/** After a change it is considered so much later what to ask for: many changes come together. */
const settleMs = 20;

/**
 * The leader's side of relays: what it has no stream to, it reaches through the pods that have one. Each runner through one of them; its own
 * stream always comes first. Relays are dialled while this operator leads, and asked for nothing while every agent is connected.
 */
export class Relays {
  readonly #options: RelaysOptions;
  readonly #peers = new Map<string, Peer>();
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: RelaysOptions) {
    this.#options = options;
  }

  /** Keeps streams to all peers until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { hub, runners, peers } = this.#options;
    const stops = [
      peers.subscribe((addresses) => this.#use(addresses)),
      hub.subscribe({ copiesChanged: () => undefined, runnerChanged: (_, what) => what !== 'Amounts' && this.#lookSoon() }),
      runners.subscribe({ added: () => this.#lookSoon(), deleted: () => this.#lookSoon() }),
    ];
    this.#lookSoon();
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    this.#hasEnded = true;
    this.#timer?.cancel();
    for (const stop of stops) stop();
    for (const peer of this.#peers.values()) peer.stop();
  }

  /** These are the other pods now: new ones are dialled, those that are gone are left, the others do not notice. */
  #use(addresses: readonly string[]): void {
    for (const [address, peer] of this.#peers) {
      if (addresses.includes(address)) continue;
      this.#peers.delete(address);
      peer.stop();
    }
    for (const address of addresses) {
      if (this.#peers.has(address)) continue;
      const peer = new Peer(address, this.#options, () => this.#lookSoon());
      this.#peers.set(address, peer);
      peer.dial();
    }
    this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#hasEnded || this.#peers.size === 0) return;
    this.#timer ??= this.#options.clock.after(settleMs, () => {
      this.#timer = undefined;
      this.#look();
    });
  }

  /** Every peer is asked for the runners that it relays, and for those that nobody reaches. */
  #look(): void {
    const { hub, runners } = this.#options;
    const names = runners.list().map(({ metadata }) => metadata.name);
    const unreached = names.filter((name) => hub.reach(name) === 'None');
    for (const peer of this.#peers.values()) peer.want([...peer.relayed.filter((name) => hub.reach(name) === 'Relayed'), ...unreached]);
  }
}

/** The stream to one other pod, dialled again for as long as this operator leads. */
class Peer {
  readonly #address: string;
  readonly #options: RelaysOptions;
  readonly #changed: () => void;
  readonly #runners = new Map<string, StreamReceiver>();
  /** Not asked for until the timer ends. */
  readonly #paused = new Map<string, Timer>();
  #stream: PeerStream | undefined;
  #name: string | undefined;
  #wanted = '';
  #failures = 0;
  #welcomeAt: number | undefined;
  #timer: Timer | undefined;

  constructor(address: string, options: RelaysOptions, changed: () => void) {
    this.#address = address;
    this.#options = options;
    this.#changed = changed;
  }

  /** The runners that it relays now. */
  get relayed(): readonly string[] {
    return [...this.#runners.keys()];
  }

  dial(): void {
    const { dialer, clock, operatorName, operatorVersion } = this.#options;
    this.#welcomeAt = undefined;
    this.#name = undefined;
    this.#wanted = '';
    const stream = dialer.dial(this.#address, {
      received: (message) => this.#received(message),
      closed: (reason) => this.#closed(reason),
    });
    this.#stream = stream;
    this.#timer = clock.after(handshakeMs, () => this.#closed(`It did not answer within ${handshakeMs / 1000} s.`));
    const hello = { minVersion: RELAY_VERSION, maxVersion: RELAY_VERSION, operatorName, operatorVersion };
    stream.send({ message: { $case: 'hello', value: hello } });
  }

  /** Asks for these runners and no others. */
  want(runnerNames: readonly string[]): void {
    const sorted = runnerNames.filter((name) => !this.#paused.has(name)).toSorted();
    if (this.#name === undefined || this.#wanted === sorted.join()) return;
    this.#wanted = sorted.join();
    this.#stream?.send({ message: { $case: 'wanted', value: { runnerNames: sorted } } });
  }

  stop(): void {
    this.#timer?.cancel();
    for (const timer of this.#paused.values()) timer.cancel();
    this.#paused.clear();
    this.#stream?.close();
    this.#stream = undefined;
    this.#dropAll('this operator leads no longer');
  }

  #received({ message }: RelayMessage): void {
    if (this.#stream === undefined) return;
    switch (message?.$case) {
      case 'welcome':
        this.#welcomed(message.value);
        return;
      case 'fromAgent':
        this.#said(message.value.runnerName, message.value.message);
        return;
      case 'agentGone':
        this.#drop(message.value.runnerName, 'the agent is not connected to the relaying pod any more');
        this.#changed();
        return;
      case undefined:
        this.#options.log.debug({ peer: this.#address }, 'Message of a newer operator pod passed over');
    }
  }

  #welcomed({ operatorName }: RelayWelcome): void {
    this.#timer?.cancel();
    if (operatorName === this.#options.operatorName) {
      this.#options.log.debug({ peer: this.#address }, 'The address of a peer is that of this operator pod');
      this.#stream?.close();
      this.#stream = undefined;
      return;
    }
    this.#name = operatorName;
    this.#welcomeAt = this.#options.clock.monotonic();
    this.#options.log.info({ peer: this.#address, operatorName }, 'Operator pod connected, to relay for this one');
    this.#changed();
  }

  #said(runnerName: string, message: AgentMessage | undefined): void {
    if (message === undefined || this.#name === undefined) return;
    if (message.message?.$case === 'hello') this.#begin(runnerName, message);
    else this.#runners.get(runnerName)?.received(message);
  }

  /** A disk that is not the one that the Runner's object names belongs to an agent that the relaying pod only believes to be connected. */
  #begin(runnerName: string, hello: AgentMessage): void {
    const { hub, runners } = this.#options;
    const stored = runners.get(runnerName)?.status.storeID;
    const told = hello.message?.$case === 'hello' ? hello.message.value : undefined;
    if (told?.runnerName !== runnerName || (stored !== undefined && stored !== told.storeId)) {
      this.#pause(runnerName);
      return;
    }
    this.#drop(runnerName, 'the relayed stream begins anew');
    if (hub.reach(runnerName) !== 'None') return;
    const receiver = hub.acceptRelayed(
      {
        token: undefined,
        send: (message) => this.#pass(runnerName, message),
        end: () => {
          if (this.#runners.get(runnerName) === receiver) this.#runners.delete(runnerName);
          this.#pause(runnerName);
        },
      },
      this.#name ?? '',
    );
    this.#runners.set(runnerName, receiver);
    receiver.received(hello);
  }

  /** So that it begins anew when it is asked for again. */
  #pause(runnerName: string): void {
    const { clock, random } = this.#options;
    this.#paused.get(runnerName)?.cancel();
    const over = () => {
      this.#paused.delete(runnerName);
      this.#changed();
    };
    this.#paused.set(runnerName, clock.after(pauseMs * (1 + 0.2 * random()), over));
    this.#changed();
  }

  #pass(runnerName: string, message: OperatorMessage): void {
    if (message.message?.$case === 'welcome') return;
    this.#stream?.send({ message: { $case: 'toAgent', value: { runnerName, message } } });
  }

  #drop(runnerName: string, reason: string): void {
    const receiver = this.#runners.get(runnerName);
    this.#runners.delete(runnerName);
    receiver?.closed(reason);
  }

  #dropAll(reason: string): void {
    for (const runnerName of this.relayed) this.#drop(runnerName, reason);
  }

  #closed(reason: string): void {
    const { clock, random, log } = this.#options;
    this.#timer?.cancel();
    this.#stream?.close();
    this.#stream = undefined;
    const wasGood = this.#welcomeAt !== undefined && clock.monotonic() - this.#welcomeAt >= goodMs;
    this.#failures = wasGood ? 1 : this.#failures + 1;
    const inMs = Math.round(backoffDelay(reconnect, this.#failures, random));
    log.info({ peer: this.#address, because: reason, failures: this.#failures, inMs }, 'Stream to another operator pod ended');
    this.#dropAll('the relaying pod is not reached any more');
    this.#timer = clock.after(inMs, () => this.dial());
    this.#changed();
  }
}
