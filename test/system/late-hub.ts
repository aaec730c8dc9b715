import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  type AgentMessage,
  AgentHubService,
  type CopyReport,
  type Hello,
  type OperatorMessage,
  type Order,
  type Preparation,
  type Refusal,
  type Unclaimed,
} from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { eventually } from './eventually.ts';

/** What an agent said on one stream. */
interface Stream {
  readonly call: ServerDuplexStream<AgentMessage, OperatorMessage>;
  readonly hello: Hello;
}

/**
 * A deposed operator: agents dial it as any other, and it sends what it is told to, however late. It decides nothing, writes nothing to
 * the API server and hears everything.
 */
export class LateHub {
  readonly refusals: Refusal[] = [];
  readonly reports: CopyReport[] = [];
  readonly #listeners = new Set<(report: CopyReport) => void>();
  readonly #server = new Server();
  readonly #streams = new Map<string, Stream>();

  /** Listens with the certificate of an operator. */
  static async listen(address: string, { cert, key }: { readonly cert: string; readonly key: string }): Promise<LateHub> {
    const hub = new LateHub();
    hub.#server.addService(AgentHubService, { connect: (call: Stream['call']) => hub.#serve(call) });
    const credentials = ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(cert), private_key: readFileSync(key) }]);
    await new Promise<void>((resolve, reject) => {
      hub.#server.bindAsync(address, credentials, (error) => (error === null ? resolve() : reject(error)));
    });
    return hub;
  }

  close(): void {
    this.#server.forceShutdown();
  }

  /** Resolves when the runner's agent is connected. */
  async connected(runner: string): Promise<Hello> {
    return eventually(`the agent of ${runner} dials the late operator`, async () => Promise.resolve(this.#streams.get(runner)?.hello));
  }

  /** The next report that is like this, in the moment in which it comes. */
  next(isIt: (report: CopyReport) => boolean): Promise<CopyReport> {
    return new Promise((resolve) => {
      const look = (report: CopyReport) => {
        if (!isIt(report)) return;
        this.#listeners.delete(look);
        resolve(report);
      };
      this.#listeners.add(look);
    });
  }

  /** Sends an order to a runner's agent. */
  send(runner: string, order: Order): void {
    this.#write(runner, { message: { $case: 'order', value: order } });
  }

  /** Sends a preparation to a runner's agent. */
  prepare(runner: string, preparation: Preparation): void {
    this.#write(runner, { message: { $case: 'preparation', value: preparation } });
  }

  /** Tells a runner's agent which copies nobody claims. */
  tell(runner: string, unclaimed: Unclaimed): void {
    this.#write(runner, { message: { $case: 'unclaimed', value: unclaimed } });
  }

  #write(runner: string, message: OperatorMessage): void {
    const stream = this.#streams.get(runner);
    if (stream === undefined) throw new Error(`the agent of ${runner} is not connected to the late operator`);
    stream.call.write(message);
  }

  #serve(call: Stream['call']): void {
    call.on('data', ({ message }: AgentMessage) => {
      if (message?.$case === 'hello') this.#welcome(call, message.value);
      if (message?.$case === 'refusal') this.refusals.push(message.value);
      if (message?.$case === 'inventory' || message?.$case === 'report') this.#heard(message.value.copies);
    });
    call.on('error', () => call.end());
    call.on('end', () => call.end());
  }

  #heard(copies: readonly CopyReport[]): void {
    this.reports.push(...copies);
    for (const report of copies) for (const listener of this.#listeners) listener(report);
  }

  #welcome(call: Stream['call'], hello: Hello): void {
    this.#streams.set(hello.runnerName, { call, hello });
    const welcome = {
      version: hello.maxVersion,
      capabilities: hello.capabilities,
      operatorName: 'late',
      operatorVersion: 'late',
      operatorId: '',
    };
    call.write({ message: { $case: 'welcome', value: welcome } });
  }
}
