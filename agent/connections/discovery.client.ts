import { isIP } from 'node:net';
import { isAddress, isLoopback, parseAddress, type Address } from '../../process/address.ts';
import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Metrics } from '../../process/metrics.ts';
import {
  addressesOf,
  alsoNames,
  forgetUnnamed,
  namesNothing,
  nothingNamed,
  nowNames,
  untilForgotten,
  type Discovery,
} from './discovery.ts';
import { dialled } from './dns-answer.ts';
import type { Resolver } from './dns.client.ts';

export interface DiscoveryOptions {
  /** Operator pods as host:port. Hosts that are names are looked up again and again; each address is one pod. */
  readonly entries: readonly string[];
  readonly resolver: Resolver;
  /** The longest time from one look to the next, in milliseconds; up to a quarter of it is left out at random. Default 5,000. */
  readonly lookupMs?: number;
  /** How long an operator pod is kept that nobody names any more, in milliseconds. Default 15,000. */
  readonly forgetMs?: number;
  /** Whether an operator pod on another machine may be dialled: only when it can be verified. Default true. */
  readonly mayLeaveMachine?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** Called when the set of operator pods has changed. */
  readonly changed: (addresses: readonly string[]) => void;
}

const settings = 'the settings';
/** While a name has never been answered it is asked for again soon. */
const firstTries = { initialMs: 250, jitter: 0.25 };

/**
 * Which operator pods there are: those of the settings, those that DNS names, and those that connected ones tell of. One that is new is known at
 * once. One that nobody names any more is kept a while; a DNS that says nothing at all takes none away.
 */
export class OperatorDiscovery {
  readonly #options: DiscoveryOptions;
  readonly #names: readonly Name[];
  #discovery: Discovery = nothingNamed;
  #said = '';
  #forgetting: Timer | undefined;
  #turnedAway = '';

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    const named = options.entries.flatMap((entry) => {
      const address = parseAddress(entry);
      return address === undefined || isStatic(address) ? [] : [address];
    });
    this.#names = named.map(
      (address) =>
        new Name(address, options, (addresses, isComplete) => {
          const source = `DNS ${address.host}:${address.port}`;
          const { clock } = this.#options;
          this.#learn((isComplete ? nowNames : alsoNames)(this.#discovery, source, this.#allowed(addresses), clock.monotonic()));
        }),
    );
  }

  start(): void {
    const fixed = this.#options.entries.filter((entry) => {
      const address = parseAddress(entry);
      return address === undefined || isStatic(address);
    });
    this.#learn(nowNames(this.#discovery, settings, fixed, this.#options.clock.monotonic()));
    for (const name of this.#names) void name.look();
  }

  stop(): void {
    this.#forgetting?.cancel();
    for (const name of this.#names) name.stop();
  }

  /** The operator pod at `by`, which is connected, tells of these others. */
  told(by: string, addresses: readonly string[]): void {
    this.#learn(nowNames(this.#discovery, by, this.#allowed(addresses), this.#options.clock.monotonic()));
  }

  /** The operator pod at `by` is not connected any more: what it told counts no longer. */
  untold(by: string): void {
    if (this.#discovery.named.has(by)) this.#learn(namesNothing(this.#discovery, by, this.#options.clock.monotonic()));
  }

  #learn(discovery: Discovery): void {
    const { clock, forgetMs = 15_000, changed } = this.#options;
    const now = clock.monotonic();
    this.#discovery = forgetUnnamed(discovery, now, forgetMs);
    const left = untilForgotten(this.#discovery, now, forgetMs);
    this.#forgetting?.cancel();
    this.#forgetting = left === undefined ? undefined : clock.after(left, () => this.#learn(this.#discovery));
    const addresses = addressesOf(this.#discovery);
    if (this.#said === addresses.join()) return;
    this.#said = addresses.join();
    changed(addresses);
  }

  /** What DNS or an operator says may name any machine; tokens and orders go there only over TLS. */
  #allowed(addresses: readonly string[]): readonly string[] {
    const dialable = addresses.filter(isAddress);
    if (this.#options.mayLeaveMachine !== false) return dialable;
    const allowed = dialable.filter((address) => isLoopback(parseAddress(address)?.host ?? ''));
    const turnedAway = dialable.filter((address) => !allowed.includes(address)).join(', ');
    if (turnedAway !== '' && turnedAway !== this.#turnedAway)
      this.#options.log.error(
        { addresses: turnedAway },
        'Operators on other machines are not dialled without an authority to verify them by',
      );
    this.#turnedAway = turnedAway;
    return allowed;
  }
}

/** One name, looked up again and again. */
class Name {
  readonly #address: Address;
  readonly #options: DiscoveryOptions;
  readonly #found: (addresses: readonly string[], isComplete: boolean) => void;
  readonly #lookups: Counter;
  #timer: Timer | undefined;
  #state: 'New' | 'Answered' | 'Silent' = 'New';
  #silences = 0;
  #hasEnded = false;

  constructor(address: Address, options: DiscoveryOptions, found: (addresses: readonly string[], isComplete: boolean) => void) {
    this.#address = address;
    this.#options = options;
    this.#found = found;
    this.#lookups = (options.metrics ?? noMetrics).counter({
      name: 'berth_agent_dns_lookups_total',
      help: 'Looks for the operators in DNS, by result.',
      labels: ['result'],
    });
  }

  async look(): Promise<void> {
    const { resolver, clock } = this.#options;
    const { host, port } = this.#address;
    const answer = await resolver.resolve(host);
    if (this.#isEnded()) return;
    this.#lookups.inc({ result: answer.kind });
    if (answer.kind === 'Silent') this.#silent(answer.why);
    else {
      this.#answered();
      this.#found(
        answer.addresses.map((address) => dialled(address, port)),
        answer.isComplete,
      );
    }
    this.#timer = clock.after(this.#waitMs(), () => void this.look());
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  #answered(): void {
    if (this.#state === 'Silent') this.#options.log.info({ name: this.#address.host }, 'DNS names operators again');
    this.#state = 'Answered';
    this.#silences = 0;
  }

  /** Said once: what was known stays known. */
  #silent(because: string): void {
    this.#silences++;
    if (this.#state !== 'Silent') {
      const line = this.#state === 'New' ? 'DNS names no operators yet' : 'DNS names no operators any more, their connections are kept';
      this.#options.log.warn({ name: this.#address.host, because }, line);
    }
    this.#state = 'Silent';
  }

  #waitMs(): number {
    const { lookupMs = 5_000, random } = this.#options;
    if (this.#silences > 0) return backoffDelay({ ...firstTries, maxMs: lookupMs }, this.#silences, random);
    return lookupMs * (1 - 0.25 * random());
  }

  /** As a call, since the state changes while one awaits. */
  #isEnded(): boolean {
    return this.#hasEnded;
  }
}

/** Dialled as it stands: an IP address, or this machine. */
function isStatic({ host }: Address): boolean {
  return isLoopback(host) || isIP(host.replace(/%.*$/, '')) !== 0;
}
