import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { operatorNodeOptions } from '../../process/node-options.ts';
import { answers } from './control-plane.ts';
import type { Ledger } from './ledger.ts';
import { Part } from './part.ts';
import { readFileSync } from 'node:fs';

export interface OperatorOptions {
  readonly name: string;
  readonly ledger: Ledger;
  /** Path of the program. */
  readonly bundle: string;
  /** The address that agents and callers use. */
  readonly host: string;
  readonly port: number;
  readonly healthPort: number;
  readonly scheme: 'http' | 'https';
  /** Environment besides addresses; read at every start. */
  readonly env: () => Readonly<Record<string, string>>;
}

/** One operator pod, as a process. */
export class Operator extends Part {
  readonly host: string;
  /** host:port of the port that agents and callers use. */
  readonly address: string;
  readonly url: string;
  /** http://host:port of /healthz, /readyz and /metrics. */
  readonly healthUrl: string;

  constructor(options: OperatorOptions) {
    const healthUrl = `http://127.0.0.1:${options.healthPort}`;
    const address = `${options.host}:${options.port}`;
    super({
      name: options.name,
      ledger: options.ledger,
      logFile: join(options.ledger.content.dataDir, 'logs', `${options.name}.log`),
      command: () => ({
        file: process.execPath,
        args: [...operatorNodeOptions, options.bundle],
        env: {
          BERTH_POD_NAME: options.name,
          BERTH_LISTEN: address,
          BERTH_HEALTH_LISTEN: `127.0.0.1:${options.healthPort}`,
          NODE_NO_WARNINGS: '1',
          ...options.env(),
        },
        inputs: [bundleContent(options.bundle)],
      }),
      probe: () => answers(`${healthUrl}/readyz`),
    });
    this.host = options.host;
    this.address = address;
    this.url = `${options.scheme}://${address}`;
    this.healthUrl = healthUrl;
  }
}

/** What a bundle consists of, so that a running process of an older one is replaced. */
export function bundleContent(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
