/**
 * One worker of the application: adds nothing up itself, but reports each flight to the parent before it counts as done.
 * The report is written synchronously, so when the handler returns it is in the parent's socket, and no SIGKILL takes it
 * back.
 */
import { writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { Consumer, type ConsumerRecord } from '@shardwise/consumer'
import { bytesWithoutNumber } from './numbered-json.ts'
import { REPORT_FD, ReportEncoder } from './report-channel.ts'
import type { FromWorker, WorkerConfig } from './worker-process.ts'

/** What the consumer's log lines may have with them. */
interface LogFields {
  readonly shardId?: string
  readonly err?: Error
}

const config = JSON.parse(process.argv[2] ?? '{}') as WorkerConfig
const { valueField } = config
// Without its parent a worker has nobody to report to.
const endWithParent = (): never => process.exit(1)
const reports = new ReportEncoder((frames) => {
  try {
    for (let written = 0; written < frames.length; ) written += writeSync(REPORT_FD, frames, written)
  } catch {
    endWithParent()
  }
})
const send = (message: FromWorker): void => {
  process.send?.(message, undefined, undefined, (error) => {
    if (error !== null) endWithParent()
  })
}
const log = (fields: LogFields, message: string): void => {
  const text = [fields.shardId, message, fields.err?.message].filter((part) => part !== undefined).join(': ')
  send({ kind: 'log', text })
}

const consumer = new Consumer({
  ...config.consumer,
  logger: { debug() {}, info() {}, warn: log, error: log },
})

function eachRecord(record: ConsumerRecord): void {
  const time = process.hrtime()
  const { data } = record
  const value = record.json() as Record<string, number>
  const number = value['#']!
  reports.delivered(
    {
      number,
      key: record.partitionKey,
      value: valueField === undefined ? bytesWithoutNumber(data.length, number) : value[valueField]!,
      crc: crc32(data),
      bytes: data.length,
      shardId: record.shardId,
      sequenceNumber: record.sequenceNumber,
      subSequenceNumber: record.subSequenceNumber,
    },
    time,
  )
}

function sendStatus(): void {
  send({ kind: 'status', shardIds: consumer.status().shards.map(({ shardId }) => shardId) })
}

// The terminal sends Ctrl-C to the workers too; the parent decides when they stop.
process.on('SIGINT', () => {})
process.on('disconnect', endWithParent)
process.on('message', (message) => {
  if (message === 'stop') void consumer.close()
})
const statusTimer = setInterval(sendStatus, 250)
await consumer.run({ eachRecord })
clearInterval(statusTimer)
process.off('disconnect', endWithParent)
process.disconnect()
