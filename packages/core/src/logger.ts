import { pino } from 'pino'

/** The part of pino's logger that Shardwise uses; a pino logger fits as it is. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

let shared: Logger | undefined

/** Warnings and errors as JSON lines on standard error: what goes wrong is seen even where nobody set up a logger. */
export function defaultLogger(): Logger {
  shared ??= pino({ name: 'shardwise', level: 'warn' }, pino.destination({ dest: 2, sync: true }))
  return shared
}

/** Says nothing. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
