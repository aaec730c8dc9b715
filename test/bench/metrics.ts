/** One line of the text that Prometheus reads. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The samples of a metrics page; comments are left out. */
export function parseMetrics(text: string): readonly Sample[] {
  return text.split('\n').flatMap((line) => {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) return [];
    const [, name = '', labels = '', value = ''] = match;
    const pairs = [...labels.matchAll(/([\w]+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', text = '']) => [label, text] as const);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/** The sum of the samples of that name whose labels pass. */
export function sumOf(samples: readonly Sample[], name: string, passes: (labels: Sample['labels']) => boolean = () => true): number {
  return samples.filter((sample) => sample.name === name && passes(sample.labels)).reduce((sum, { value }) => sum + value, 0);
}

/** Requests that may change what is stored, by resource: as the API server counts them. Reviews store nothing. */
export function writesByResource(samples: readonly Sample[]): ReadonlyMap<string, number> {
  const writes = samples.filter(
    ({ name, labels: { verb = '', resource = '' } }) =>
      name === 'apiserver_request_total' && writing.has(verb) && !resource.endsWith('reviews'),
  );
  const byResource = Map.groupBy(writes, ({ labels }) => labels.resource ?? '');
  return new Map([...byResource].map(([resource, found]) => [resource, found.reduce((sum, { value }) => sum + value, 0)]));
}

const writing = new Set(['POST', 'PUT', 'PATCH', 'APPLY', 'DELETE', 'DELETECOLLECTION']);

/** What was counted more at the second time than at the first; without what stayed the same. */
export function increase(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  return new Map([...after].map(([key, value]) => [key, value - (before.get(key) ?? 0)] as const).filter(([, more]) => more > 0));
}
