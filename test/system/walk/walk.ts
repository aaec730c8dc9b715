import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Sandbox } from '../../../crds/sandbox.ts';
import type { Part } from '../../harness/part.ts';
import type { ApiAnswer } from '../../harness/kube-api.ts';
import { remembering } from '../a-sandbox.ts';
import { eventually } from '../eventually.ts';
import type { World } from '../world.ts';
import type { Fault, Operation, Step, Target, WalkPlan } from './plan.ts';

const path = '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes';
const merge = 'application/merge-patch+json';
/** An operation that is to be settled is waited for so long: while parts are down it may not come. */
const settleMs = 4_000;

/** Carries a plan out on a world: the steps one after the other, in the sequence of the plan. */
export class Walk {
  readonly #world: World;
  readonly #plan: WalkPlan;
  readonly #parts: Readonly<Record<Target, Part>>;
  /** Those that were killed and not started again. */
  readonly #killed = new Set<Target>();
  /** Sentences about parts that ended although nobody killed them. */
  readonly ended: string[] = [];

  constructor(world: World, plan: WalkPlan) {
    const { cluster } = world;
    const [operator1, operator2] = cluster.operators;
    if (operator1 === undefined || operator2 === undefined) throw new Error('two operators are needed');
    const [runner1, runner2] = [cluster.runner('runner-1'), cluster.runner('runner-2')];
    this.#world = world;
    this.#plan = plan;
    this.#parts = {
      ...{ 'operator-1': operator1, 'operator-2': operator2, 'agent-1': runner1.agent, 'agent-2': runner2.agent },
      ...{ 'containerd-1': runner1.containerd, 'containerd-2': runner2.containerd, apiserver: cluster.apiserver, etcd: cluster.etcd },
    };
  }

  async run(): Promise<void> {
    for (const [at, step] of this.#plan.steps.entries()) {
      this.#note(`${at} ${JSON.stringify(step)}`);
      await this.#take(step);
      await this.#supervise();
    }
    for (const part of Object.values(this.#parts)) await part.waitReady();
    this.#note('every part is back');
  }

  /** Of each name, the object that there is; by the API server. */
  async sandboxes(): Promise<readonly Sandbox[]> {
    const { body } = await this.#world.cluster.api.call('GET', path);
    return (body as { items: readonly Sandbox[] }).items;
  }

  #note(line: string): void {
    appendFileSync(join(this.#world.cluster.logDir, 'walk.log'), `${new Date().toISOString()} ${line}\n`);
  }

  async #take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'pause':
        await delay(step.ms);
        return;
      case 'fault':
        return this.#fail(step);
      case 'recovery':
        return this.#recover(step.target);
      case 'operation':
        await this.#ask(step);
        if (step.settle) await this.#settled(step);
    }
  }

  async #fail({ target, how }: Fault): Promise<void> {
    const part = this.#parts[target];
    if (how === 'freeze') {
      part.freeze();
      return;
    }
    this.#killed.add(target);
    await part.kill();
  }

  async #recover(target: Target): Promise<void> {
    const part = this.#parts[target];
    this.#killed.delete(target);
    if (part.isRunning) part.thaw();
    else await part.launch();
  }

  /** As a kubelet would. */
  async #supervise(): Promise<void> {
    for (const [target, part] of Object.entries(this.#parts) as [Target, Part][]) {
      if (part.isRunning || this.#killed.has(target)) continue;
      this.#note(`${target} has ended by itself`);
      this.ended.push(`${target} has ended by itself: ${part.log().trim().split('\n').at(-1) ?? ''}`);
      await part.launch();
    }
  }

  async #ask({ operation, name, restartID }: Operation): Promise<void> {
    const one = `${path}/${name}`;
    const spec = {
      start: { desiredState: 'Started' },
      stop: { desiredState: 'Stopped' },
      restart: { restartID },
    };
    switch (operation) {
      case 'create':
        return this.#create(name);
      case 'delete':
        await this.#insist(() => this.#world.cluster.api.call('DELETE', one), [200, 202], name);
        return;
      default:
        await this.#insist(() => this.#world.cluster.api.call('PATCH', one, { spec: spec[operation] }, merge), [200]);
    }
  }

  /** The answer to an earlier try may be lost: then it is there already. */
  async #create(name: string): Promise<void> {
    await this.#insist(() => this.#world.cluster.api.call('POST', path, remembering(name, this.#world.image)), [201, 409]);
  }

  /** Until there is an answer of these, or that `absent` is not there: the API server may be down, or not serve sandboxes yet, which is a 404 too. */
  async #insist(call: () => Promise<ApiAnswer>, accepted: readonly number[], absent?: string): Promise<ApiAnswer> {
    const last: { answer?: unknown } = {};
    return eventually(
      'the API server answers',
      async () => {
        const answer = await call().catch((error: unknown) => void (last.answer = String(error)));
        last.answer = answer ?? last.answer;
        if (answer === undefined) return undefined;
        return accepted.includes(answer.status) || (absent !== undefined && isAbsent(answer, absent)) ? answer : undefined;
      },
      () => last.answer,
    );
  }

  async #settled({ operation, name, restartID }: Operation): Promise<void> {
    const end = performance.now() + settleMs;
    const wanted = operation === 'stop' ? 'Stopped' : 'Started';
    while (performance.now() < end) {
      const { status, body } = await this.#insist(() => this.#world.cluster.api.call('GET', `${path}/${name}`), [200], name);
      const { status: now = {}, metadata } = body as unknown as {
        readonly status?: Partial<Sandbox['status']>;
        readonly metadata: Sandbox['metadata'];
      };
      const isDone =
        now.state === wanted && now.observedGeneration === metadata.generation && (operation !== 'restart' || now.restartID === restartID);
      if (operation === 'delete' ? status === 404 : isDone) return;
      await delay(50);
    }
  }
}

function isAbsent({ status, body }: ApiAnswer, name: string): boolean {
  return status === 404 && (body.details as { readonly name?: string } | undefined)?.name === name;
}
