import { runnerSpecSchema } from '../../crds/index.ts';
import type { ResourceAmounts, RunnerSpec } from '../../crds/index.ts';
import { NOTHING } from '../../crds/resources.ts';
import type { AgentView, RunnerView } from '../../operator/assignment/runner-view.ts';

const GiB = 2 ** 30;

/** A runner as decisions see it: ready, connected, 8 cpus, 32 GiB, 200 GiB, empty, no task slots. Every call makes a new builder. */
export class RunnerViewBuilder {
  readonly #view: RunnerView;

  constructor(view: RunnerView) {
    this.#view = view;
  }

  view(): RunnerView {
    return this.#view;
  }

  with(view: Partial<RunnerView>): RunnerViewBuilder {
    return new RunnerViewBuilder({ ...this.#view, ...view });
  }

  spec(spec: Partial<RunnerSpec>): RunnerViewBuilder {
    return this.with({ spec: { ...this.#view.spec, ...spec } });
  }

  agent(agent: Partial<AgentView>): RunnerViewBuilder {
    return this.#view.agent === undefined ? this : this.with({ agent: { ...this.#view.agent, ...agent } });
  }

  unschedulable(): RunnerViewBuilder {
    return this.spec({ unschedulable: true });
  }

  notReady(): RunnerViewBuilder {
    return this.with({ isReady: false, agent: undefined });
  }

  /** Lost, and the administrator says that it is off. */
  fenced(): RunnerViewBuilder {
    return this.notReady().with({ fencing: 'Administrator' });
  }

  disconnected(): RunnerViewBuilder {
    return this.with({ agent: undefined });
  }

  /** Started sandboxes of the default size. */
  loaded(started: number): RunnerViewBuilder {
    const amounts = { cpuMillis: 125 * started, memoryBytes: (GiB / 2) * started, diskBytes: 4 * GiB * started };
    return this.with({ load: { started, amounts } });
  }

  capacity(capacity: Partial<ResourceAmounts>): RunnerViewBuilder {
    return this.#view.agent === undefined ? this : this.agent({ capacity: { ...this.#view.agent.capacity, ...capacity } });
  }

  failing(sandboxes: number, until = 0): RunnerViewBuilder {
    return this.with({ failures: { sandboxes, until } });
  }

  rebooted(): RunnerViewBuilder {
    const bootID = `boot-2-${this.#view.name}`;
    return this.with({ bootID }).agent({ bootID });
  }

  wiped(): RunnerViewBuilder {
    const storeID = `store-2-${this.#view.name}`;
    return this.with({ storeID }).agent({ storeID });
  }
}

export function aRunner(name: string): RunnerViewBuilder {
  const [storeID, bootID] = [`store-${name}`, `boot-${name}`];
  return new RunnerViewBuilder({
    name,
    labels: {},
    spec: runnerSpecSchema.parse({ taskSlots: 0 }),
    isReady: true,
    fencing: undefined,
    storeID,
    bootID,
    agent: {
      storeID,
      bootID,
      isComplete: true,
      capacity: { cpuMillis: 8_000, memoryBytes: 32 * GiB, diskBytes: 200 * GiB },
      allocated: NOTHING,
      images: [],
    },
    load: { amounts: NOTHING, started: 0 },
    failures: { sandboxes: 0, until: 0 },
  });
}
