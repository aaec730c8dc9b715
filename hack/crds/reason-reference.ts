import {
  ASSIGNMENT_REASON_TEXTS,
  BACKUP_REASON_TEXTS,
  FAILURE_REASON_TEXTS,
  LIFECYCLE_REASON_TEXTS,
  RUNNER_REASON_TEXTS,
  type ReasonText,
} from '../../crds/index.ts';

/** The reference page of reasons. */
export function reasonReference(): string {
  return [
    '# Reasons',
    'Every reason in a status, a condition or an Event is one of these. `kubectl get sandboxes -o wide` shows it in the column REASON; `kubectl describe` shows the message that goes with it.',
    section('Where a sandbox is', ASSIGNMENT_REASON_TEXTS),
    section('How a sandbox lives', LIFECYCLE_REASON_TEXTS),
    section('What failed', FAILURE_REASON_TEXTS),
    section('Whether a sandbox is backed up', BACKUP_REASON_TEXTS),
    section('Runners', RUNNER_REASON_TEXTS),
  ]
    .join('\n\n')
    .concat('\n');
}

/** The guide with its table of failures between the two comments that mark its place. */
export function withFailures(guide: string): string {
  const place = /(?<=<!-- failures -->\n)[^]*(?=\n<!-- \/failures -->)/;
  if (!place.test(guide)) throw new Error('docs/guide.md has no place for the table of failures: <!-- failures --> and <!-- /failures -->');
  return guide.replace(place, () => tableOf(FAILURE_REASON_TEXTS));
}

function section(title: string, texts: Readonly<Record<string, ReasonText>>): string {
  return [`## ${title}`, '', tableOf(texts)].join('\n');
}

function tableOf(texts: Readonly<Record<string, ReasonText>>): string {
  const rows = Object.entries(texts).map(([name, { means, todo = '', later }]) =>
    later ? `| \`${name}\` | *Does not occur yet.* ${means} | |` : `| \`${name}\` | ${means} | ${todo} |`,
  );
  return ['| Reason | Means | What to do |', '| --- | --- | --- |', ...rows].join('\n');
}
