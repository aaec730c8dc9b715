import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  type AgentMessage,
  AgentHubService,
  type CopyReport,
  type Hello,
  type OperatorMessage,
  type Order,
} from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import {
  Channel,
  type OpenTransfer,
  type TaskCapacity,
  TaskPhase,
  type TaskReply,
  type TaskRequest,
  type TaskState,
  TransferKind,
  type TransferFromAgent,
  type TransferToAgent,
} from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { eventually } from './eventually.ts';

type Control = ServerDuplexStream<AgentMessage, OperatorMessage>;
type Bulk = ServerDuplexStream<TransferFromAgent, TransferToAgent>;
type Reply = NonNullable<TaskReply['reply']>;

/** An operator pod that is a test: one agent dials it, and it asks for tasks. */
export class TaskHub {
  readonly reports: CopyReport[] = [];
  readonly capacities: TaskCapacity[] = [];
  readonly offers: string[] = [];
  readonly #server = new Server();
  readonly #replies = new Map<string, (reply: Reply | undefined) => void>();
  readonly #transfers = new Map<string, (call: Bulk) => void>();
  readonly #states = new Map<string, TaskState[]>();
  #stream: { readonly call: Control; readonly hello: Hello } | undefined;

  static async listen(address: string, { cert, key }: { readonly cert: string; readonly key: string }): Promise<TaskHub> {
    const hub = new TaskHub();
    hub.#server.addService(AgentHubService, {
      connect: (call: Control) => hub.#serve(call),
      transfer: (call: Bulk) => hub.#transfer(call),
    });
    const credentials = ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(cert), private_key: readFileSync(key) }]);
    await new Promise<void>((resolve, reject) => {
      hub.#server.bindAsync(address, credentials, (error) => (error === null ? resolve() : reject(error)));
    });
    return hub;
  }

  close(): void {
    this.#server.forceShutdown();
  }

  /** Resolves when an agent is connected, another one than `before`. */
  async connected(before?: Hello): Promise<Hello> {
    return eventually('the agent dials', () =>
      Promise.resolve(this.#stream?.hello.agentId === before?.agentId ? undefined : this.#stream?.hello),
    );
  }

  order(value: Order): void {
    this.#write({ $case: 'order', value });
  }

  /** Asks, and asks again when the stream ended before the answer came: as every pod does. */
  async ask(request: NonNullable<TaskRequest['request']>): Promise<Reply> {
    return eventually('the agent answers', async () => {
      const requestId = randomUUID();
      if (this.#stream === undefined) return undefined;
      const answer = new Promise<Reply | undefined>((resolve) => this.#replies.set(requestId, resolve));
      this.#write({ $case: 'taskRequest', value: { requestId, request } });
      return answer;
    });
  }

  /** The code of the refusal, or what kind of answer it was. */
  async code(request: NonNullable<TaskRequest['request']>): Promise<string> {
    const reply = await this.ask(request);
    return reply.$case === 'rejected' ? reply.value.code : reply.$case;
  }

  /** Resolves with how the task ended, whichever agent says so. */
  async ended(taskId: string): Promise<TaskState> {
    return eventually(
      `task ${taskId} ends`,
      async () => {
        const told = this.told(taskId).find(({ phase }) => phase === TaskPhase.TASK_PHASE_ENDED);
        if (told !== undefined) return told;
        if (this.#stream === undefined) return undefined;
        const now = await this.ask({ $case: 'watch', value: { taskId } });
        return now.$case === 'task' && now.value.phase === TaskPhase.TASK_PHASE_ENDED ? now.value : undefined;
      },
      () => this.told(taskId).at(-1),
    );
  }

  /** What was told of a task without being asked. */
  told(taskId: string): readonly TaskState[] {
    return this.#states.get(taskId) ?? [];
  }

  async output(taskId: string, of: Partial<OpenTransfer> = {}): Promise<{ readonly stdout: string; readonly stderr: string }> {
    const parts = await this.fetch({ kind: TransferKind.TRANSFER_KIND_OUTPUT, taskId, follow: true, ...of });
    return { stdout: (parts.get(Channel.CHANNEL_STDOUT) ?? '').toString(), stderr: (parts.get(Channel.CHANNEL_STDERR) ?? '').toString() };
  }

  async file(taskId: string, path: string): Promise<Buffer> {
    const parts = await this.fetch({ kind: TransferKind.TRANSFER_KIND_FILE, taskId, path });
    return parts.get(Channel.CHANNEL_FILE) ?? Buffer.alloc(0);
  }

  /** All that a transfer has, by channel. */
  async fetch(of: Partial<OpenTransfer>): Promise<ReadonlyMap<Channel, Buffer>> {
    const call = await this.#open(of);
    const parts = new Map<Channel, Buffer[]>();
    await new Promise<void>((resolve, reject) => {
      call.on('data', ({ message }: TransferFromAgent) => {
        if (message?.$case !== 'frame') return;
        const { channel, data, last } = message.value;
        if (data.length > 0) parts.set(channel, [...(parts.get(channel) ?? []), data]);
        if (last) resolve();
      });
      call.on('end', () => reject(new Error('the transfer ended before its last frame')));
      call.on('error', reject);
      call.resume();
    });
    call.end();
    return new Map([...parts].map(([channel, all]) => [channel, Buffer.concat(all)]));
  }

  /** Sends bytes to the agent; `last` says that they are all. */
  async push(of: Partial<OpenTransfer>, data: Buffer, last: boolean): Promise<void> {
    const call = await this.#open(of);
    const channel = Channel.CHANNEL_STDIN;
    const taken = new Promise<void>((resolve, reject) => {
      call.on('data', ({ message }: TransferFromAgent) => {
        if (message?.$case === 'taken' && message.value === data.length) resolve();
      });
      call.on('error', reject);
      call.on('close', () => reject(new Error('the agent did not take it all')));
      call.resume();
    });
    const size = 200_000;
    for (let at = 0; at < data.length || at === 0; at += size) {
      call.write({ frame: { channel, offset: at, data: data.subarray(at, at + size), last: last && at + size >= data.length } });
    }
    await taken;
    call.end();
  }

  async #open(of: Partial<OpenTransfer>): Promise<Bulk> {
    const transferId = randomUUID();
    const dialled = new Promise<Bulk>((resolve) => this.#transfers.set(transferId, resolve));
    const value: OpenTransfer = {
      transferId,
      kind: TransferKind.TRANSFER_KIND_UNSPECIFIED,
      taskId: '',
      uploadId: '',
      path: '',
      stdoutOffset: 0,
      stderrOffset: 0,
      follow: false,
      ...of,
    };
    // The agent may not have seen yet that the one before has ended.
    const reply = await eventually('the transfer is opened', async () => {
      const answer = await this.ask({ $case: 'openTransfer', value });
      return answer.$case === 'rejected' && answer.value.code === 'TransferUnavailable' ? undefined : answer;
    });
    if (reply.$case !== 'done') throw new Error(`the transfer was refused: ${JSON.stringify(reply)}`);
    return dialled;
  }

  #write(message: NonNullable<OperatorMessage['message']>): void {
    this.#stream?.call.write({ message });
  }

  #serve(call: Control): void {
    call.on('data', ({ message }: AgentMessage) => {
      if (message !== undefined) this.#heard(call, message);
    });
    const end = () => {
      if (this.#stream?.call === call) this.#stream = undefined;
      for (const resolve of this.#replies.values()) resolve(undefined);
      this.#replies.clear();
      call.end();
    };
    call.on('error', end);
    call.on('end', end);
    call.on('cancelled', end);
  }

  #heard(call: Control, message: NonNullable<AgentMessage['message']>): void {
    switch (message.$case) {
      case 'hello':
        call.write({
          message: {
            $case: 'welcome',
            value: { version: 1, capabilities: message.value.capabilities, operatorName: 'test', operatorVersion: 'test', operatorId: '' },
          },
        });
        this.#stream = { call, hello: message.value };
        return;
      case 'inventory':
      case 'report':
        this.reports.push(...message.value.copies);
        if (message.value.runner?.tasks !== undefined) this.capacities.push(message.value.runner.tasks);
        return;
      case 'taskReply':
        if (message.value.reply !== undefined) this.#replies.get(message.value.requestId)?.(message.value.reply);
        this.#replies.delete(message.value.requestId);
        return;
      case 'taskEvent': {
        const { event } = message.value;
        if (event?.$case === 'offer') this.offers.push(event.value.ticketId);
        if (event?.$case === 'task') this.#states.set(event.value.taskId, [...this.told(event.value.taskId), event.value]);
        return;
      }
      default:
    }
  }

  #transfer(call: Bulk): void {
    call.once('data', ({ message }: TransferFromAgent) => {
      // What comes in the same moment waits until somebody listens.
      call.pause();
      const id = message?.$case === 'hello' ? message.value.transferId : '';
      const waiting = this.#transfers.get(id);
      this.#transfers.delete(id);
      if (waiting === undefined) call.end();
      else waiting(call);
    });
  }
}
