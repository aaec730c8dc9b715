import type { Input, OneShot, TaskLimits, TaskSpec } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { ApiError } from '../http/errors.ts';
import { parsePlacedID } from './ids.ts';
import type { SubmitBody } from './schemas.ts';

/** All inputs that come with a request together. */
const mostInlineBytes = 64 * 1024;

/** The sandbox that a task runs in, as its object says. */
export interface TaskSandbox {
  readonly uid: string;
  readonly contentVersion: number;
  readonly runnerName: string;
}

type InputBody = NonNullable<SubmitBody['stdin']>;

/** What the agent is told to run. @throws ApiError `InvalidRequest`, `BodyTooLarge`, `FilesUnsupported`, `UploadGone` */
export function taskSpecOf(body: SubmitBody, sandbox: TaskSandbox | undefined): TaskSpec {
  checkPlace(body);
  const runnerName = sandbox?.runnerName ?? parsePlacedID(body.reservationID ?? '')?.runnerName;
  const spec: TaskSpec = {
    where:
      sandbox === undefined
        ? { $case: 'oneShot', value: oneShotOf(body) }
        : { $case: 'sandbox', value: { uid: sandbox.uid, contentVersion: sandbox.contentVersion } },
    command: [...body.command],
    args: [...body.args],
    env: body.env.map(({ name, value }) => ({ name, value })),
    workingDir: body.workingDir ?? '',
    stdin: body.stdin === undefined ? undefined : inputOf(body.stdin, runnerName),
    streamStdin: body.streamStdin,
    limits: limitsOf(body),
    inputFiles: body.inputFiles.map((file) => ({ path: file.path, content: inputOf(file, runnerName), mode: file.mode })),
    outputFiles: [...body.outputFiles],
    graceSeconds: body.graceSeconds,
  };
  const inline = [spec.stdin, ...spec.inputFiles.map(({ content }) => content)].map(lengthOf).reduce((sum, length) => sum + length, 0);
  if (inline <= mostInlineBytes) return spec;
  throw new ApiError(
    'BodyTooLarge',
    `stdin and inputFiles have ${inline} bytes; at most ${mostInlineBytes} come with a request: upload more.`,
  );
}

function checkPlace({ image, sandbox, command, inputFiles, outputFiles, imagePullSecrets }: SubmitBody): void {
  if ((image === undefined) === (sandbox === undefined)) throw invalid('name either the sandbox that it runs in, or an image');
  if (sandbox === undefined) return;
  if (imagePullSecrets.length > 0) throw invalid('imagePullSecrets: they go with an image');
  if (command.length === 0) throw invalid('command: say what to run in the sandbox');
  if (inputFiles.length + outputFiles.length > 0) throw new ApiError('FilesUnsupported');
}

function oneShotOf({ image = '', imagePullPolicy, namespace, runAsUser, runAsGroup }: SubmitBody): OneShot {
  return { image, imagePullPolicy, namespace, runAsUser, runAsGroup };
}

function limitsOf({ limits }: SubmitBody): TaskLimits {
  return {
    cpuTimeMs: ms(limits.cpuSeconds),
    wallTimeMs: ms(limits.wallSeconds),
    memoryBytes: limits.memoryBytes ?? 0,
    pids: limits.processes ?? 0,
    outputBytes: limits.outputBytes ?? 0,
    cpuMillis: Math.round((limits.cpus ?? 0) * 1000),
    outputFilesBytes: limits.outputFileBytes ?? 0,
  };
}

function inputOf({ text, base64, upload }: InputBody, runnerName: string | undefined): Input {
  if ([text, base64, upload].filter((one) => one !== undefined).length > 1) throw invalid('an input is either text, base64 or an upload');
  if (upload !== undefined) return { content: { $case: 'uploadId', value: uploadOn(runnerName, upload) } };
  const value = base64 === undefined ? Buffer.from(text ?? '', 'utf8') : Buffer.from(base64, 'base64');
  return { content: { $case: 'inline', value } };
}

/** What was uploaded lies where the task will run, or is not there. */
function uploadOn(runnerName: string | undefined, text: string): string {
  if (runnerName === undefined) throw invalid('upload: name the sandbox or the reservation that it was sent for');
  const id = parsePlacedID(text);
  if (id?.runnerName === runnerName) return id.uuid;
  throw new ApiError('UploadGone', `The upload ${text} does not lie on the runner ${runnerName} where the task is to run.`);
}

function lengthOf(input: Input | undefined): number {
  return input?.content?.$case === 'inline' ? input.content.value.length : 0;
}

function ms(seconds: number | undefined): number {
  return seconds === undefined ? 0 : Math.ceil(seconds * 1000);
}

function invalid(what: string): ApiError {
  return new ApiError('InvalidRequest', `The body is not as it should be. ${what}.`);
}
