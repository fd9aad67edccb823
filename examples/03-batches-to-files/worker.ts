/** One worker: a file for each batch, named by its first record's place in the shard. */
import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Consumer, type ConsumerRecord } from '@shardwise/consumer'

const { folder, kinesis, dynamodb } = JSON.parse(process.argv[2] ?? '{}')

interface Place {
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
}

/** As a text that sorts as places do; what is no number, such as TRIM_HORIZON, comes before all. */
function textOf({ sequenceNumber, subSequenceNumber }: Place): string {
  const number = /^\d+$/.test(sequenceNumber) ? sequenceNumber : '0'
  return `${number.padStart(60, '0')}-${String(subSequenceNumber).padStart(6, '0')}`
}

/** All of the file or nothing of it, and when it returns, on the disk for good. */
async function writeWhole(name: string, lines: readonly string[]): Promise<void> {
  const path = join(folder, name)
  const file = await open(`${path}.part`, 'w')
  await file.writeFile(`${lines.join('\n')}\n`)
  await file.sync()
  await file.close()
  await rename(`${path}.part`, path)
  const directory = await open(folder)
  await directory.sync()
  await directory.close()
}

async function eachBatch(records: ConsumerRecord[]): Promise<void> {
  const lines = records.map((record) => {
    return JSON.stringify({ at: textOf(record), key: record.partitionKey, ...record.json<object>() })
  })
  await writeWhole(`${records[0]!.shardId}_${textOf(records[0]!)}.ndjson`, lines)
}

/**
 * Takes away what is beyond the checkpoint, since it comes again: batches needn't be cut where they were before. So a kill leaves
 * nothing twice, and neither does going back by `reset`.
 */
async function onShardStart({
  shardId,
  checkpoint,
}: {
  readonly shardId: string
  readonly checkpoint: Place
}): Promise<void> {
  const done = textOf(checkpoint)
  let removed = 0
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${shardId}_`)) continue
    const lines = name.endsWith('.part') ? [] : (await readFile(join(folder, name), 'utf8')).trimEnd().split('\n')
    const kept = lines.filter((line) => (JSON.parse(line) as { readonly at: string }).at <= done)
    removed += lines.length - kept.length
    if (kept.length === 0) await rm(join(folder, name))
    else if (kept.length < lines.length) await writeWhole(name, kept)
  }
  if (removed > 0) console.log(`${shardId}: ${removed} records beyond the checkpoint are taken away, and come again`)
}

const consumer = new Consumer({
  application: 'files',
  stream: 'readings',
  ordering: 'shard',
  failoverTime: 1_000,
  kinesisConfig: kinesis,
  dynamodbConfig: dynamodb,
})
process.once('SIGTERM', () => consumer.close())
await consumer.run({ eachBatch, maxRecords: 500, maxWaitMs: 50, onShardStart })
