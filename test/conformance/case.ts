import type { Stage } from './stage.ts'

/** What a case needs beside an ordinary Kinesis: the limits of the service, time that can be moved, megabytes a second. */
export type Need = 'limits' | 'clock' | 'speed'

/** One behaviour of Kinesis: it resolves where a backend has it and rejects where it doesn't. */
export interface Case {
  readonly name: string
  readonly needs?: Need
  readonly run: (stage: Stage) => Promise<void>
}
