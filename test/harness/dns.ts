import { Resolver } from 'node:dns/promises';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Ledger } from './ledger.ts';
import { Part } from './part.ts';

export interface DnsOptions {
  readonly ledger: Ledger;
  /** Path of CoreDNS. */
  readonly program: string;
  readonly port: number;
  /** Of somebody who may see Services and EndpointSlices. */
  readonly kubeconfig: string;
}

/** CoreDNS as a cluster has it: it serves the names of the Services that the API server knows. */
export class Dns extends Part {
  /** ip:port */
  readonly address: string;
  readonly #corefile: string;
  readonly #options: DnsOptions;

  constructor(options: DnsOptions) {
    const { ledger, program, port } = options;
    const corefile = join(ledger.content.dataDir, 'dns', 'Corefile');
    super({
      name: 'coredns',
      ledger,
      logFile: join(ledger.content.dataDir, 'logs', 'coredns.log'),
      command: () => ({ file: program, args: ['-conf', corefile], inputs: [readFileSync(corefile, 'utf8')] }),
      probe: () => this.resolve('kubernetes.default.svc.cluster.local').then(() => undefined),
    });
    this.address = `127.0.0.1:${port}`;
    this.#corefile = corefile;
    this.#options = options;
    this.#configure(false);
  }

  /** The addresses of a name, as this server answers now. */
  async resolve(name: string): Promise<readonly string[]> {
    const resolver = new Resolver({ timeout: 2_000, tries: 1 });
    resolver.setServers([this.address]);
    return (await resolver.resolve4(name)).toSorted();
  }

  /** Whether an answer that was given once is given again and again, whatever has become of the pods. Begins anew with nothing. */
  async repeatAnswers(doesRepeat: boolean): Promise<void> {
    await this.stop();
    this.#configure(doesRepeat);
    await this.start();
  }

  #configure(doesRepeat: boolean): void {
    const { port, kubeconfig } = this.#options;
    mkdirSync(dirname(this.#corefile), { recursive: true });
    const cache = doesRepeat ? '  cache 3600 {\n    success 9984 3600 3600\n    denial 9984 1 1\n  }\n' : '';
    writeFileSync(
      this.#corefile,
      `.:${port} {\n  bind 127.0.0.1\n  errors\n${cache}  kubernetes cluster.local {\n    kubeconfig ${kubeconfig}\n    ttl 1\n  }\n}\n`,
    );
  }
}
