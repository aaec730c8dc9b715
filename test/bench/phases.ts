/** Where the time of a start goes: the marks that operator and agent leave in their debug logs, between those of the benchmark itself. */

/** One line of a log, as far as it is looked at. */
interface Line {
  readonly time: string;
  readonly msg: string;
  readonly uid?: string;
  readonly sandboxId?: string;
  readonly key?: string;
  readonly state?: string | number;
  readonly step?: string;
}

/** A start as the benchmark saw it. Times in milliseconds since the epoch. */
export interface SeenStart {
  readonly name: string;
  readonly uid: string;
  readonly answered: number;
  readonly seen: number;
}

interface Mark {
  readonly name: string;
  readonly isAt: (line: Line, start: SeenStart) => boolean;
}

const stepOf = (msg: string, step: string) => (line: Line, start: SeenStart) =>
  line.msg === msg && line.step === step && line.uid === start.uid;
const written = (state: string) => (line: Line, start: SeenStart) =>
  line.msg === 'Sandbox status written' && line.state === state && line.key === `default/${start.name}`;
const about = (msg: string) => (line: Line, start: SeenStart) => line.msg === msg && (line.uid ?? line.sandboxId) === start.uid;
const running = 4;

/** In the sequence in which they happen when nothing is slow: preparing goes on beside the patch. */
const marks: readonly Mark[] = [
  { name: 'decided', isAt: about('Processing sandbox runner assignment') },
  { name: 'preparation received', isAt: about('Preparation received') },
  { name: 'preparing begun', isAt: stepOf('Step begun', 'Prepare') },
  { name: 'Creating acknowledged', isAt: written('Creating') },
  { name: 'order received', isAt: about('Order received') },
  { name: 'prepared', isAt: stepOf('Step ended', 'Prepare') },
  { name: 'starting begun', isAt: stepOf('Step begun', 'Start') },
  { name: 'running', isAt: stepOf('Step ended', 'Start') },
  { name: 'report received', isAt: (line, start) => about('Report received')(line, start) && line.state === running },
  { name: 'Started acknowledged', isAt: written('Started') },
];

/** For each mark, the milliseconds from the answer to the POST until it, of every start that left it. */
export function phasesOf(logs: readonly string[], starts: readonly SeenStart[]): ReadonlyMap<string, readonly number[]> {
  const lines = logs.flatMap(linesOf);
  const after = (mark: Mark) =>
    starts.flatMap((start) => {
      const line = lines.find((candidate) => mark.isAt(candidate, start));
      return line === undefined ? [] : [Date.parse(line.time) - start.answered];
    });
  const seen = starts.map((start) => start.seen - start.answered);
  return new Map([...marks.map((mark) => [mark.name, after(mark)] as const), ['Started seen', seen]]);
}

function linesOf(log: string): readonly Line[] {
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}
