import { AggregateBuilder, type HashRange, ShardMap } from '@shardwise/records'
import { AGGREGATE_BYTES, DATA_BYTES, type Load } from './messages.ts'

/** By shard: what a producer with a sound shard map writes, each key in its shard, aggregates as large as the KPL makes them. */
export function aggregatesOf(ranges: readonly HashRange[], { keys, userRecords }: Load): Uint8Array[][] {
  const data = Buffer.alloc(DATA_BYTES, 'x')
  const lanes = ranges.map((hashRange, index) => ({
    shardId: `${index}`,
    hashRange,
    builder: new AggregateBuilder(),
    aggregates: [] as Uint8Array[],
  }))
  const map = ShardMap.of(lanes)
  const byId = new Map(lanes.map((lane) => [lane.shardId, lane]))
  const seal = ({ builder, aggregates }: (typeof lanes)[number]): void => {
    if (builder.count === 0) return
    aggregates.push(Uint8Array.from(builder.build(0n).data))
    builder.reset()
  }
  for (let index = 0; index < userRecords; index++) {
    const key = `user-${index % keys}`
    const lane = byId.get(map.predictKey(key)!.shardId)!
    if (lane.builder.sizeWith(key, undefined, DATA_BYTES) > AGGREGATE_BYTES) seal(lane)
    lane.builder.add(key, undefined, data)
  }
  lanes.forEach(seal)
  return lanes.map(({ aggregates }) => aggregates)
}
