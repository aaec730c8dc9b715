import type { AgentMessage, Hello, Refusal, Report } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { LeaderHello, LeaderMessage, ToAgent } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { AgentTap, Hub } from '../hub/controller.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import type { AgentAuthenticator, AgentIdentity, StreamEnd } from '../hub/stream.ts';
import { inventoryOf } from './inventory.ts';
import { RELAY_VERSION, type LeaderReceiver, type LeaderStream } from './stream.ts';

export interface RelayServingOptions {
  readonly hub: Pick<Hub, 'tap' | 'passOn'>;
  /** Checks that the token is that of an operator. */
  readonly authenticator: AgentAuthenticator;
  readonly operatorName: string;
  readonly operatorVersion: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The side of a relay that agents are connected to: passes on what wanted agents say, and what the leader has to say to them. */
export class RelayServing {
  readonly #options: RelayServingOptions;
  readonly #sessions = new Set<ServingSession>();
  #closed = false;

  constructor(options: RelayServingOptions) {
    this.#options = options;
  }

  /** Takes on a stream that another pod has opened. */
  accept(stream: LeaderStream): LeaderReceiver {
    const session = new ServingSession(stream, this.#options, () => this.#sessions.delete(session));
    this.#sessions.add(session);
    if (this.#closed) session.end('Unavailable', 'This operator pod is shutting down.');
    return session;
  }

  /** Ends every stream. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions]) session.end('Unavailable', 'This operator pod is shutting down.');
  }
}

const forAgents = ['order', 'preparation', 'unclaimed'] as const;

/** One stream of one leader: Hello, the check of the token, Welcome, then what it wants. */
class ServingSession implements LeaderReceiver {
  readonly #stream: LeaderStream;
  readonly #options: RelayServingOptions;
  readonly #ended: () => void;
  readonly #wanted = new Map<string, () => void>();
  #state: 'Opened' | 'Checking' | 'Welcome' | 'Ended' = 'Opened';
  #leader = '';
  #expiry: Timer | undefined;

  constructor(stream: LeaderStream, options: RelayServingOptions, ended: () => void) {
    this.#stream = stream;
    this.#options = options;
    this.#ended = ended;
  }

  received({ message }: LeaderMessage): void {
    if (this.#state === 'Ended' || message === undefined) return;
    if (this.#state === 'Opened' && message.$case === 'hello') {
      this.#state = 'Checking';
      void this.#greet(message.value);
      return;
    }
    if (this.#state !== 'Welcome') {
      this.end('InvalidArgument', 'The first message must be a Hello, and the next waits for the Welcome.');
      return;
    }
    this.#obey(message);
  }

  #obey(message: NonNullable<LeaderMessage['message']>): void {
    switch (message.$case) {
      case 'hello':
        this.end('InvalidArgument', 'A stream has one Hello.');
        return;
      case 'wanted':
        this.#want(message.value.runnerNames);
        return;
      case 'toAgent':
        this.#passOn(message.value);
        return;
      case 'tokenRenewal':
        void this.#renew(message.value.token);
    }
  }

  /** The handshake with the agent and the list of pods that it is told are this pod's own. */
  #passOn({ runnerName, message }: ToAgent): void {
    if (message === undefined || !this.#wanted.has(runnerName)) return;
    if (forAgents.some((kind) => kind === message.message?.$case)) this.#options.hub.passOn(runnerName, message);
  }

  closed(reason: string): void {
    if (this.#state === 'Ended') return;
    this.#options.log.debug({ leader: this.#leader, reason }, 'Stream of another operator pod closed');
    this.#finish();
  }

  /** Ends the stream from this side. */
  end(code: StreamEnd, message: string): void {
    if (this.#state === 'Ended') return;
    this.#options.log.info({ leader: this.#leader, code, reason: message }, 'Stream of another operator pod ended');
    this.#finish();
    this.#stream.end(code, message);
  }

  async #greet({ minVersion, maxVersion, operatorName: leader }: LeaderHello): Promise<void> {
    const identity = await this.#identify(this.#stream.token);
    if (this.#isEnded() || identity === undefined) return;
    if (minVersion > RELAY_VERSION || maxVersion < RELAY_VERSION) {
      this.end(
        'FailedPrecondition',
        `This operator pod speaks version ${RELAY_VERSION} of the relay, the other ${minVersion} to ${maxVersion}.`,
      );
      return;
    }
    this.#leader = leader;
    this.#state = 'Welcome';
    this.#expireWith(identity);
    const { operatorName, operatorVersion } = this.#options;
    this.#stream.send({ message: { $case: 'welcome', value: { version: RELAY_VERSION, operatorName, operatorVersion } } });
  }

  /** Who the token belongs to; undefined when the stream was ended for it. */
  async #identify(token: string | undefined): Promise<AgentIdentity | undefined> {
    try {
      const answer = await this.#options.authenticator.authenticate(token);
      if (answer.kind === 'Authenticated') return answer.identity;
      this.#options.log.warn({ code: answer.code, reason: answer.message }, 'Operator pod refused');
      this.end(answer.code, answer.message);
    } catch (err) {
      this.#options.log.error({ err }, 'Token of an operator pod not checked');
      this.end('Unavailable', `The token can not be checked now: ${messageOf(err)}`);
    }
    return undefined;
  }

  async #renew(token: string): Promise<void> {
    const identity = await this.#identify(token);
    if (!this.#isEnded() && identity !== undefined) this.#expireWith(identity);
  }

  #expireWith({ expiresAt }: AgentIdentity): void {
    this.#expiry?.cancel();
    if (expiresAt === undefined) return;
    const { clock } = this.#options;
    this.#expiry = clock.after(Math.max(0, expiresAt - clock.now()), () =>
      this.end('Unauthenticated', 'The token of this stream has expired.'),
    );
  }

  #want(runnerNames: readonly string[]): void {
    for (const [runnerName, stop] of this.#wanted) {
      if (runnerNames.includes(runnerName)) continue;
      stop();
      this.#wanted.delete(runnerName);
    }
    for (const runnerName of runnerNames) {
      if (this.#wanted.has(runnerName)) continue;
      // Known as wanted before it is heard: the leader may answer its first word at once.
      this.#wanted.set(runnerName, () => undefined);
      this.#wanted.set(runnerName, this.#options.hub.tap(runnerName, new PassingTap(runnerName, this.#stream)));
    }
  }

  #finish(): void {
    this.#state = 'Ended';
    this.#expiry?.cancel();
    for (const stop of this.#wanted.values()) stop();
    this.#wanted.clear();
    this.#ended();
  }

  /** As a call, since the state changes while one awaits. */
  #isEnded(): boolean {
    return this.#state === 'Ended';
  }
}

/** Passes on what one agent says, under numbers of its own. */
class PassingTap implements AgentTap {
  readonly #runnerName: string;
  readonly #stream: LeaderStream;
  #seq = 0;

  constructor(runnerName: string, stream: LeaderStream) {
    this.#runnerName = runnerName;
    this.#stream = stream;
  }

  began(hello: Hello): void {
    this.#seq = 0;
    this.#pass({ $case: 'hello', value: hello });
  }

  inventory(facts: RunnerFacts): void {
    this.#seq++;
    for (const part of inventoryOf(facts, this.#seq)) this.#pass({ $case: 'inventory', value: part });
  }

  report(report: Report): void {
    this.#seq++;
    this.#pass({ $case: 'report', value: { ...report, seq: this.#seq } });
  }

  refused(refusal: Refusal): void {
    this.#pass({ $case: 'refusal', value: refusal });
  }

  gone(): void {
    this.#stream.send({ message: { $case: 'agentGone', value: { runnerName: this.#runnerName } } });
  }

  #pass(message: NonNullable<AgentMessage['message']>): void {
    this.#stream.send({ message: { $case: 'fromAgent', value: { runnerName: this.#runnerName, message: { message } } } });
  }
}
