import { GetRecordsCommand, SubscribeToShardCommand } from '@aws-sdk/client-kinesis'
import { type Clock, type Kinesis, timedKinesis } from '@shardwise/core'

/** Answers to these are small, and come within a second or never: an answer that is lost holds up what depends on it, such as the start. */
const SMALL_ANSWER_MS = 10_000
/** Of 10 MiB, over a slow line. */
const RECORDS_MS = 30_000

/**
 * A client whose calls are given up after a time, whatever the client itself does: those for records later than the others. A
 * subscription looks after itself.
 */
export function timedCalls(kinesis: Kinesis, clock: Clock): Kinesis {
  const small = timedKinesis(kinesis, clock, SMALL_ANSWER_MS)
  const records = timedKinesis(kinesis, clock, RECORDS_MS)
  const clientFor = (command: object): Kinesis => {
    if (command instanceof SubscribeToShardCommand) return kinesis
    return command instanceof GetRecordsCommand ? records : small
  }
  const send = (command: Parameters<Kinesis['send']>[0], options?: Parameters<Kinesis['send']>[1]): Promise<unknown> =>
    clientFor(command).send(command, options ?? {})
  return { send: send as Kinesis['send'] }
}
