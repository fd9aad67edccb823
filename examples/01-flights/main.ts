/**
 * The main job: three million flights through a Kinesis stream on this machine, with a split and a killed worker on the
 * way, and a verdict at the end. `npm start -- --help` says more.
 */
import { type CliOptions, HELP, parseCli, UsageError } from './cli.ts'
import { Display } from './display.ts'
import { FlightsSource } from './flights-source.ts'
import { runJob } from './job.ts'
import { NdjsonSource } from './ndjson-source.ts'
import { type Source, SourceError } from './source.ts'
import { JobError } from './waiting.ts'

const OK = 0
const FAILED = 1
const WRONG_USAGE = 2
/** What a shell reports of a program that a signal ended: 128 and the signal's number. */
const INTERRUPTED = 130
const BROKEN_PIPE = 141
const TERMINATED = 143

/** The process is to end early, with this exit status. */
class Stopped extends Error {
  override readonly name = 'Stopped'
  readonly exitCode: number

  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}

async function main(args: readonly string[]): Promise<number> {
  const stop = new AbortController()
  const stopWith = (message: string, exitCode: number) => () => {
    // A second Ctrl-C doesn't wait for anything; the workers see their parent go.
    if (stop.signal.aborted) process.exit(exitCode)
    stop.abort(new Stopped(message, exitCode))
  }
  process.on('SIGINT', stopWith('Interrupted; the workers are stopped', INTERRUPTED))
  process.on('SIGTERM', stopWith('Terminated; the workers are stopped', TERMINATED))
  process.stdout.on('error', () => stop.abort(new Stopped('', BROKEN_PIPE)))
  process.stderr.on('error', () => stop.abort(new Stopped('', BROKEN_PIPE)))
  try {
    const options = parseCli(args)
    if (options.help) {
      process.stdout.write(HELP)
      return OK
    }
    const source = await openSource(options)
    const display = new Display(process.stdout, process.env)
    return (await runJob({ source, options, display, signal: stop.signal })) ? OK : FAILED
  } catch (error) {
    return exitCodeOf(error)
  }
}

async function openSource({ input, records }: CliOptions): Promise<Source> {
  return input === undefined
    ? await FlightsSource.open(records)
    : await NdjsonSource.open(input.path, input.key, records)
}

/** Says what went wrong, in one line where it isn't a mistake in the program. */
function exitCodeOf(error: unknown): number {
  if (error instanceof Stopped) {
    if (error.message !== '') process.stderr.write(`${error.message}\n`)
    return error.exitCode
  }
  if (error instanceof UsageError || error instanceof SourceError) {
    process.stderr.write(`${error.message}\nSee npm start -- --help\n`)
    return WRONG_USAGE
  }
  process.stderr.write(error instanceof JobError ? `The job failed: ${error.message}\n` : `${inspectError(error)}\n`)
  return FAILED
}

function inspectError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

process.exitCode = await main(process.argv.slice(2))
