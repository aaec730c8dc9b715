import type { AgentMessage, Hello, Order, Refusal } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { TaskRequest } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import { stableLines } from '../../process/stable-log-lines.ts';
import { resendMs } from '../lifecycle/decide.ts';
import type { HubOptions } from './controller.ts';
import { copyKey, emptyInbox, takeInventory, takeRefusal, takeReport, type Inbox, type RunnerFacts, type Taken } from './facts.ts';
import { PROTOCOL_VERSION, shakeHands } from './handshake.ts';
import type { AgentIdentity, AgentStream, Authentication, StreamEnd, StreamReceiver } from './stream.ts';

/** How long a stream may take from its beginning to the Welcome. */
const greetingMs = 10_000;
/** The token of a stream is checked again so often, and up to a quarter earlier: one that was revoked does not live on with its stream. */
const recheckMs = 300_000;
/** What changes the facts of a runner. */
export type Told = Extract<NonNullable<AgentMessage['message']>, { readonly $case: 'inventory' | 'report' }>;

/** Answers about tasks, and what happens to them. */
export type ToldOfTasks = Extract<NonNullable<AgentMessage['message']>, { readonly $case: 'taskReply' | 'taskEvent' }>;

export interface SessionOwner {
  /** False when the session was ended instead. */
  greeted(session: Session, hello: Hello): boolean;
  /** The Welcome was sent. */
  welcomed(session: Session): void;
  taken(session: Session, taken: Taken & { readonly kind: 'Taken' }, message: Told): void;
  refused(session: Session, facts: RunnerFacts, refusal: Refusal): void;
  factsOf(runnerName: string): RunnerFacts | undefined;
  /** Only from agents that have their own stream here. */
  toldOfTasks(session: Session, message: ToldOfTasks): void;
  ended(session: Session, reason: string): void;
}

/** One stream: Hello, the check of the token, Welcome, then inventory and reports in their sequence. */
export class Session implements StreamReceiver {
  readonly stream: AgentStream;
  /** The operator pod that relays it; undefined for an agent's own stream. */
  readonly via: string | undefined;
  /** Set once the agent is welcome. */
  hello: Hello | undefined;
  /** Both sides know of tasks. */
  speaksTasks = false;
  /** When it last said something; monotonic. */
  heardAt: number;
  readonly #options: HubOptions;
  readonly #owner: SessionOwner;
  readonly #sent = new Map<string, { readonly order: number; readonly at: number }>();
  #inbox: Inbox = emptyInbox;
  /** What a relay told so far, while that is older than what is known. */
  #behind: RunnerFacts | undefined;
  #nodeName: string | undefined;
  /** Until the Welcome, the end of the wait for it; then that of the token. */
  #expiry: Timer | undefined;
  #recheck: Timer | undefined;
  #state: 'Opened' | 'Checking' | 'Welcome' | 'Ended' = 'Opened';

  constructor(stream: AgentStream, via: string | undefined, options: HubOptions, owner: SessionOwner) {
    this.stream = stream;
    this.via = via;
    this.#options = options;
    this.#owner = owner;
    this.heardAt = options.clock.monotonic();
    this.#expiry = options.clock.after(greetingMs, () => this.#giveUp());
  }

  /** It has not begun with its Hello yet. */
  get isSilent(): boolean {
    return this.#state === 'Opened';
  }

  received({ message }: AgentMessage): void {
    if (this.#state === 'Ended') return;
    this.heardAt = this.#options.clock.monotonic();
    if (this.#state === 'Opened' && message?.$case === 'hello') {
      this.#state = 'Checking';
      void this.#greet(message.value);
      return;
    }
    if (this.#state !== 'Welcome' || this.hello === undefined) {
      this.end('InvalidArgument', 'The first message must be a Hello, and the next waits for the Welcome.');
      return;
    }
    this.#read(message, this.hello);
  }

  closed(reason: string): void {
    this.#finish('closed');
    this.#options.log.debug({ instanceID: this.hello?.instanceId, reason }, 'Stream of an agent closed');
  }

  /** Ends the stream from this side. */
  end(code: StreamEnd, message: string): void {
    if (this.#state === 'Ended') return;
    const { runnerName, instanceId } = this.hello ?? {};
    this.#options.log.info({ runner: runnerName, instanceID: instanceId, code, reason: message }, 'Stream of an agent ended');
    this.#finish(code);
    this.stream.end(code, message);
  }

  /** Of an agent that is welcome. */
  get runnerName(): string {
    return this.hello?.runnerName ?? '';
  }

  /** Asks the agent about tasks; lost when the stream has ended. */
  ask(request: TaskRequest): void {
    if (this.#state === 'Welcome') this.stream.send({ message: { $case: 'taskRequest', value: request } });
  }

  sentOrder(key: string): number {
    return this.#sent.get(key)?.order ?? 0;
  }

  sendOrder(order: Order, isAccepted: boolean): boolean {
    if (this.#state !== 'Welcome') return false;
    const key = copyKey(order.uid, order.epoch);
    const now = this.#options.clock.monotonic();
    const before = this.#sent.get(key);
    const isDue = before?.order !== order.order || (!isAccepted && now - before.at >= resendMs);
    if (!isDue) return true;
    this.#sent.set(key, { order: order.order, at: now });
    const { uid, epoch, order: number } = order;
    this.#options.log.debug({ runner: this.hello?.runnerName, uid, epoch, order: number }, 'Order sent');
    this.stream.send({ message: { $case: 'order', value: order } });
    return true;
  }

  #giveUp(): void {
    if (this.isSilent) this.end('InvalidArgument', `There was no Hello within ${greetingMs / 1000} s.`);
    else this.end('Unavailable', `The token could not be checked within ${greetingMs / 1000} s.`);
  }

  async #greet(hello: Hello): Promise<void> {
    // The pod that relays it has asked the agent who it is, and was asked itself.
    const authentication = this.via === undefined ? await this.#authenticate(this.stream.token) : relayedIdentity;
    if (this.#isEnded()) return;
    if (authentication.kind !== 'Authenticated') {
      this.#options.log.warn({ runner: hello.runnerName, code: authentication.code, reason: authentication.message }, 'Agent refused');
      this.end(authentication.code, authentication.message);
      return;
    }
    const { operatorName, operatorVersion, operatorID = '' } = this.#options;
    const offer = {
      minVersion: PROTOCOL_VERSION,
      maxVersion: PROTOCOL_VERSION,
      capabilities: ['tasks'],
      operatorName,
      operatorVersion,
      operatorID,
    };
    const handshake = shakeHands(hello, authentication.identity, offer);
    if (handshake.kind === 'Refused') {
      this.#options.log.warn({ runner: hello.runnerName, code: handshake.code, reason: handshake.message }, 'Agent refused');
      this.end(handshake.code, handshake.message);
      return;
    }
    if (!this.#owner.greeted(this, hello)) return;
    this.hello = hello;
    this.speaksTasks = this.via === undefined && handshake.welcome.capabilities.includes('tasks');
    this.#state = 'Welcome';
    this.#nodeName = authentication.identity.nodeName;
    this.#expireWith(authentication.identity);
    if (this.via === undefined) this.#recheckLater(this.stream.token);
    this.stream.send({ message: { $case: 'welcome', value: handshake.welcome } });
    const { runnerName, storeId: storeID, incarnation } = hello;
    const line = this.via === undefined ? stableLines.agentConnected(hello.instanceId) : 'Runner reached through another operator pod';
    this.#options.log.info({ runner: runnerName, storeID, incarnation, via: this.via }, line);
    this.#owner.welcomed(this);
  }

  #read(message: AgentMessage['message'], { runnerName }: Hello): void {
    const known = this.#owner.factsOf(runnerName);
    if (known === undefined) return;
    const facts = this.#behind ?? known;
    const now = this.#options.clock.monotonic();
    switch (message?.$case) {
      case 'inventory':
        this.#keep(takeInventory(facts, this.#inbox, message.value, now), message, known);
        return;
      case 'report':
        for (const { uid, epoch, order, state } of message.value.copies)
          this.#options.log.debug({ runner: runnerName, uid, epoch, order, state }, 'Report received');
        this.#keep(takeReport(facts, this.#inbox, message.value, now), message, known);
        return;
      case 'refusal':
        this.#options.log.debug({ runner: runnerName, ...message.value }, 'Order not taken by the agent');
        this.#owner.refused(this, takeRefusal(known, message.value), message.value);
        return;
      case 'tokenRenewal':
        void this.#renew(message.value.token);
        return;
      case 'taskReply':
      case 'taskEvent':
        if (this.speaksTasks) this.#owner.toldOfTasks(this, message);
        return;
      case 'hello':
        this.end('InvalidArgument', 'A stream has one Hello.');
        return;
      case undefined:
        this.#options.log.debug({ runner: runnerName }, 'Message of a newer agent passed over');
    }
  }

  #keep(taken: Taken, message: Told, known: RunnerFacts): void {
    if (taken.kind === 'Gap') {
      this.end('Aborted', `${taken.message} Begin again with an inventory.`);
      return;
    }
    this.#inbox = taken.inbox;
    if (this.via !== undefined && taken.facts.isComplete && taken.facts.tick < known.tick) {
      this.#behind = taken.facts;
      return;
    }
    const isCaughtUp = this.#behind !== undefined;
    this.#behind = undefined;
    this.#owner.taken(this, isCaughtUp ? { ...taken, uids: uidsOf(taken.facts), runnerChanged: true } : taken, message);
  }

  /** The stream ends when its token does, unless a new one comes first. */
  async #renew(token: string): Promise<void> {
    const authentication = await this.#authenticate(token);
    if (this.#isEnded()) return;
    if (authentication.kind !== 'Authenticated') {
      this.#options.log.warn({ runner: this.hello?.runnerName, reason: authentication.message }, 'Renewed token of an agent refused');
    } else if (authentication.identity.nodeName !== this.#nodeName) {
      this.end('PermissionDenied', `The renewed token is bound to another node than "${this.#nodeName ?? ''}".`);
    } else {
      this.#expireWith(authentication.identity);
      this.#recheckLater(token);
    }
  }

  #recheckLater(token: string | undefined): void {
    const { clock, tokenRecheckMs = recheckMs, random = () => 0 } = this.#options;
    this.#recheck?.cancel();
    this.#recheck = clock.after(tokenRecheckMs * (1 - 0.25 * random()), () => void this.#checkAgain(token));
  }

  /** Ends the stream when the token is not valid any more. Nobody who can tell proves nothing. */
  async #checkAgain(token: string | undefined): Promise<void> {
    const checking = this.#recheck;
    const authentication = await this.#authenticate(token);
    // A renewed token came meanwhile, or the stream has ended.
    if (this.#isEnded() || this.#recheck !== checking) return;
    if (authentication.kind === 'Refused') this.end(authentication.code, `The token is not valid any more: ${authentication.message}`);
    else this.#recheckLater(token);
  }

  async #authenticate(
    token: string | undefined,
  ): Promise<Authentication | { readonly kind: 'Unknown'; readonly code: 'Unavailable'; readonly message: string }> {
    try {
      return await this.#options.authenticator.authenticate(token);
    } catch (err) {
      this.#options.log.error({ err }, 'Token of an agent not checked');
      return { kind: 'Unknown', code: 'Unavailable', message: `The token can not be checked now: ${messageOf(err)}` };
    }
  }

  #expireWith({ expiresAt }: AgentIdentity): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (expiresAt === undefined) return;
    const { clock } = this.#options;
    this.#expiry = clock.after(Math.max(0, expiresAt - clock.now()), () =>
      this.end('Unauthenticated', 'The token of this stream has expired.'),
    );
  }

  #finish(reason: string): void {
    if (this.#state === 'Ended') return;
    this.#state = 'Ended';
    this.#expiry?.cancel();
    this.#recheck?.cancel();
    if (this.hello !== undefined && this.via === undefined)
      this.#options.log.info({ runner: this.hello.runnerName, reason }, stableLines.agentDisconnected(this.hello.instanceId));
    this.#owner.ended(this, reason);
  }

  /** As a call, since the state changes while one awaits. */
  #isEnded(): boolean {
    return this.#state === 'Ended';
  }
}

const relayedIdentity = { kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: undefined } } as const;

function uidsOf({ copies }: RunnerFacts): readonly string[] {
  return [...new Set([...copies.keys()].map((key) => key.slice(0, key.lastIndexOf('/'))))];
}
