import { readFileSync } from 'node:fs';
import { credentials, Metadata } from '@grpc/grpc-js';
import { aReport, aRunnerReport } from '../builders/scripted-agent.ts';
import { AgentHubClient, CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { addressToID } from '../../agent/connections/address-id.ts';
import type { Sandbox } from '../../crds/sandbox.ts';
import { systemNamespace } from '../harness/identity.ts';

interface Place {
  /** Of the operator. */
  readonly address: string;
  readonly caFile: string;
  readonly token: string;
  readonly runnerName: string;
}

/** An agent with a good token that says what is not so. */
export class LyingAgent implements Disposable {
  readonly #client: AgentHubClient;
  readonly #call: ReturnType<AgentHubClient['connect']>;
  #seq = 0;

  private constructor({ address, caFile, token }: Place) {
    const name = `berth-operator.${systemNamespace}.svc`;
    this.#client = new AgentHubClient(address, credentials.createSsl(readFileSync(caFile)), {
      'grpc.ssl_target_name_override': name,
      'grpc.default_authority': name,
    });
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    this.#call = this.#client.connect(metadata);
  }

  /** Resolves when the operator has said Welcome. */
  static async connect(place: Place): Promise<LyingAgent> {
    const agent = new LyingAgent(place);
    const welcome = new Promise<void>((resolve, reject) => {
      agent.#call.on('data', () => resolve());
      agent.#call.on('error', reject);
    });
    const { address, runnerName } = place;
    const who = { runnerName, storeId: 'a-lie', incarnation: 1, agentId: 'liar', bootId: 'a-lie', installId: 'berth', agentVersion: '0' };
    agent.#call.write({
      message: {
        $case: 'hello',
        value: { ...who, minVersion: 1, maxVersion: 1, capabilities: [], instanceId: `liar-${addressToID(address)}` },
      },
    });
    await welcome;
    agent.#inventory([]);
    return agent;
  }

  /** Says that the sandbox has ended, under a higher order than its own runner has. */
  claimsExit({ metadata, status }: Sandbox): void {
    const ended = { state: CopyState.COPY_STATE_STOPPED, order: status.order + 1, contentVersion: status.contentVersion };
    const exit = { code: 1, reason: 'Error', signal: 0, finishTimeMs: Date.now(), ordered: false };
    this.#inventory([aReport(metadata.uid, status.assignment?.epoch ?? 1, { ...ended, exit })]);
  }

  [Symbol.dispose](): void {
    this.#call.cancel();
    this.#client.close();
  }

  #inventory(copies: ReturnType<typeof aReport>[]): void {
    this.#seq++;
    this.#call.write({
      message: { $case: 'inventory', value: { seq: this.#seq, copies, runner: aRunnerReport, last: true, tick: this.#seq } },
    });
  }
}
