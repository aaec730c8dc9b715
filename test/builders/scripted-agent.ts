import { CopyState, Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type {
  AgentMessage,
  CopyReport,
  Hello,
  Order,
  OperatorMessage,
  Preparation,
  RunnerReport,
} from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { AgentStream, StreamEnd, StreamReceiver } from '../../operator/hub/stream.ts';

const GiB = 2 ** 30;

export function aHello(runnerName: string, hello: Partial<Hello> = {}): Hello {
  return {
    minVersion: 1,
    maxVersion: 1,
    capabilities: [],
    runnerName,
    storeId: `store-${runnerName}`,
    incarnation: 1,
    agentId: `agent-${runnerName}`,
    bootId: `boot-${runnerName}`,
    instanceId: `agent-${runnerName}-10-0-0-1-3001`,
    installId: 'install',
    agentVersion: 'test',
    ...hello,
  };
}

export function aReport(uid: string, epoch: number, report: Partial<CopyReport> = {}): CopyReport {
  return {
    uid,
    namespace: 'default',
    name: uid,
    epoch,
    order: 1,
    contentVersion: 0,
    state: CopyState.COPY_STATE_STOPPED,
    exit: undefined,
    reason: '',
    message: '',
    progress: undefined,
    baseDigest: '',
    startTimeMs: 0,
    backup: undefined,
    ...report,
  };
}

export const aRunnerReport: RunnerReport = {
  capacity: { cpuMillis: 8_000, memoryBytes: 32 * GiB, diskBytes: 200 * GiB },
  allocated: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 },
  startedSandboxes: 0,
  images: [],
  tasks: undefined,
};

/** One end of a stream, played by a test: says what it is told to and keeps what it hears. */
export class ScriptedAgent implements AgentStream {
  readonly token: string | undefined;
  readonly heard: NonNullable<OperatorMessage['message']>[] = [];
  ended: { readonly code: StreamEnd; readonly message: string } | undefined;
  /** Called for every order, after it was kept. */
  onOrder: (order: Order) => void = () => undefined;
  readonly hello: Hello;
  #receiver: StreamReceiver | undefined;
  #seq = 0;
  /** What the agent has told on all of its streams: set it to play one that is behind another. */
  tick = 0;

  constructor(runnerName: string, options: { readonly hello?: Partial<Hello>; readonly token?: string } = {}) {
    this.hello = aHello(runnerName, options.hello);
    this.token = options.token;
  }

  get orders(): readonly Order[] {
    return this.heard.flatMap((message) => (message.$case === 'order' ? [message.value] : []));
  }

  get preparations(): readonly Preparation[] {
    return this.heard.flatMap((message) => (message.$case === 'preparation' ? [message.value] : []));
  }

  get isWelcome(): boolean {
    return this.heard.some(({ $case }) => $case === 'welcome');
  }

  /** Opens the stream and says Hello. */
  dial(hub: { accept(stream: AgentStream): StreamReceiver }): this {
    this.#receiver = hub.accept(this);
    this.say({ $case: 'hello', value: this.hello });
    return this;
  }

  say(message: AgentMessage['message']): void {
    this.#receiver?.received({ message });
  }

  inventory(...copies: readonly CopyReport[]): void {
    this.say({ $case: 'inventory', value: { seq: ++this.#seq, copies: [...copies], runner: aRunnerReport, last: true, tick: this.tick } });
  }

  report(...copies: readonly CopyReport[]): void {
    this.say({ $case: 'report', value: { seq: ++this.#seq, copies: [...copies], runner: undefined, tick: ++this.tick } });
  }

  drop(reason = 'gone'): void {
    this.#receiver?.closed(reason);
  }

  send({ message }: OperatorMessage): void {
    if (message === undefined) return;
    this.heard.push(message);
    if (message.$case === 'order') this.onOrder(message.value);
  }

  end(code: StreamEnd, message: string): void {
    this.ended = { code, message };
  }
}

/** Carries every order out at once: the shortest agent that there can be. */
export function obedient(agent: ScriptedAgent): ScriptedAgent {
  const started = new Map<string, number>();
  agent.onOrder = (order) => {
    const key = `${order.uid}/${order.epoch}`;
    if (order.wanted === Wanted.WANTED_RUNNING) started.set(key, order.contentVersion);
    const state = {
      [Wanted.WANTED_RUNNING]: CopyState.COPY_STATE_RUNNING,
      [Wanted.WANTED_STOPPED]: CopyState.COPY_STATE_STOPPED,
      [Wanted.WANTED_ABSENT]: CopyState.COPY_STATE_ABSENT,
    }[order.wanted as 2 | 3 | 4];
    const contentVersion = started.get(key) ?? 0;
    const { uid, name, namespace, epoch, order: number } = order;
    agent.report(aReport(uid, epoch, { name, namespace, order: number, contentVersion, state }));
  };
  return agent;
}
