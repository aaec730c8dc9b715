import { createHash } from 'node:crypto';
import { run, succeeds } from '../../hack/command.ts';
import { podAddresses } from './pod-network.ts';
import type { Toolchain } from '../../hack/toolchain/toolchain.ts';

export interface NetworkOptions {
  readonly tools: Pick<Toolchain, 'ip' | 'nft' | 'nsenter'>;
  /** `<instance>-<what lies in it>`: names the link and chooses the addresses. */
  readonly name: string;
  /** A process in the network namespace; it must have one of its own. */
  readonly pid: () => number;
}

/** The packet filter's table for a network, or the beginning of those of an instance. nft takes no `-` in names. */
export const networkTable = (name: string) => `berth_${name.replaceAll('-', '_')}`;

/**
 * A network namespace that reaches the machine's loopback as its own: what listens on 127.0.0.1 there answers under 127.0.0.1 here, over a link
 * on which packets can be lost. What listens on `address` in it can be reached from the machine.
 */
export class Network {
  /** Of the namespace, as the machine sees it. */
  readonly address: string;
  readonly #options: NetworkOptions;
  readonly #gateway: string;
  readonly #link: string;
  readonly #table: string;

  constructor(options: NetworkOptions) {
    const hash = createHash('sha256').update(options.name).digest();
    const number = hash.readUInt16BE(0) & 0x3fff;
    const block = `10.251.${number >> 6}`;
    this.#options = options;
    this.#gateway = `${block}.${(number & 63) * 4 + 1}`;
    this.address = `${block}.${(number & 63) * 4 + 2}`;
    this.#link = `be${hash.toString('hex').slice(0, 10)}`;
    this.#table = networkTable(options.name);
  }

  /** Makes the link. It goes with the namespace; `close` removes what the machine has of it. */
  async open(): Promise<void> {
    const { tools, pid } = this.#options;
    const link = this.#link;
    await this.close();
    await run(tools.ip, ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid())]);
    await run(tools.ip, ['address', 'add', `${this.#gateway}/30`, 'dev', link]);
    await run(tools.ip, ['link', 'set', link, 'up']);
    await run('sh', ['-c', `echo 1 >/proc/sys/net/ipv4/conf/${link}/route_localnet`]);
    await this.#nft([], `add table ip ${this.#table}`);
    await this.#nft([], `add chain ip ${this.#table} in { type nat hook prerouting priority -100 ; }`);
    await this.#nft([], `add rule ip ${this.#table} in iifname ${link} ip daddr ${this.#gateway} dnat to 127.0.0.1`);

    await this.#inside(tools.ip, 'link', 'set', 'lo', 'up');
    await this.#inside(tools.ip, 'address', 'add', `${this.address}/30`, 'dev', 'eth0');
    await this.#inside(tools.ip, 'link', 'set', 'eth0', 'up');
    await this.#inside(tools.ip, 'route', 'add', podAddresses, 'via', this.#gateway);
    await this.#inside('sh', '-c', 'for each in all eth0 lo; do echo 1 >/proc/sys/net/ipv4/conf/$each/route_localnet; done');
    await this.#nft(this.#enter(), 'add table ip berth');
    await this.#nft(this.#enter(), 'add chain ip berth out { type nat hook output priority -100 ; }');
    await this.#nft(this.#enter(), `add rule ip berth out ip daddr 127.0.0.1 dnat to ${this.#gateway}`);
    await this.#nft(this.#enter(), 'add chain ip berth leave { type nat hook postrouting priority 100 ; }');
    await this.#nft(this.#enter(), 'add rule ip berth leave oifname eth0 masquerade');
    // Behind the translation of addresses: before it, a packet to 127.0.0.1 still leaves by lo.
    await this.#nft(this.#enter(), 'add chain ip berth lost { type filter hook postrouting priority 0 ; }');
  }

  /** From now on packets to these ports of the machine vanish without a word; to all of them when none is named. Connections stay open. */
  async lose(...ports: readonly number[]): Promise<void> {
    const which = ports.length === 0 ? 'oifname eth0' : `oifname eth0 tcp dport { ${ports.join(', ')} }`;
    await this.#nft(this.#enter(), `add rule ip berth lost ${which} drop`);
  }

  /** As `lose`, for packets to one address. */
  async loseTo(address: string): Promise<void> {
    await this.#nft(this.#enter(), `add rule ip berth lost oifname eth0 ip daddr ${address} drop`);
  }

  /** Connections from here to `address` go to these in turn, as those to the address of a Service do. */
  async balance(address: string, targets: readonly string[]): Promise<void> {
    const turns = targets.map((target, index) => `${index} : ${target}`).join(', ');
    await this.#nft(this.#enter(), `add rule ip berth out ip daddr ${address} dnat to numgen inc mod ${targets.length} map { ${turns} }`);
  }

  /** What a command prints that is run in it. @throws what `run` throws. */
  async run(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const [program, ...rest] = [...this.#enter(), file, ...args];
    return run(program, rest, { env });
  }

  /** Nothing is lost any more. */
  async mend(): Promise<void> {
    await this.#nft(this.#enter(), 'flush chain ip berth lost');
  }

  async close(): Promise<void> {
    const { tools } = this.#options;
    await succeeds(tools.nft, ['delete', 'table', 'ip', this.#table]);
    await succeeds(tools.ip, ['link', 'delete', this.#link]);
  }

  #enter(): readonly [string, ...string[]] {
    const { tools, pid } = this.#options;
    return [tools.nsenter, `--net=/proc/${pid()}/ns/net`, '--'];
  }

  async #inside(file: string, ...args: readonly string[]): Promise<void> {
    const { nsenter } = this.#options.tools;
    await run(nsenter, [...this.#enter().slice(1), file, ...args]);
  }

  async #nft(enter: readonly string[], command: string): Promise<void> {
    const [program, ...rest] = [...enter, this.#options.tools.nft, command];
    await run(program, rest);
  }
}
