import type { Shard } from '@shardwise/core'
import { MAX_HASH_KEY } from '@shardwise/records'

const END = MAX_HASH_KEY

function shard(
  id: number,
  [start, end]: readonly [number, number | bigint],
  [from, to]: readonly [number, number?],
  parents: readonly number[] = [],
): Shard {
  return {
    shardId: `shardId-${id}`,
    hashRange: { start: BigInt(start), end: BigInt(end) },
    parentShardIds: parents.map((parent) => `shardId-${parent}`),
    startingSequenceNumber: String(from),
    endingSequenceNumber: to === undefined ? undefined : String(to),
  }
}

/*
 * The shard trees that the KCL is tested with.
 *
 *   0 1 2 3 4   5
 *   \ / \ / |   |
 *    6   7  4   5
 *     \ /   |  / \
 *      8    4 9  10   4, 8, 9, 10 are open
 */
export const TREE_A: readonly Shard[] = [
  shard(0, [0, 99], [11, 102]),
  shard(1, [100, 199], [11, 102]),
  shard(2, [200, 299], [11, 102]),
  shard(3, [300, 399], [11, 102]),
  shard(4, [400, 499], [11]),
  shard(5, [500, END], [11, 205]),
  shard(6, [0, 199], [103, 205], [0, 1]),
  shard(7, [200, 399], [103, 205], [2, 3]),
  shard(8, [0, 399], [206], [6, 7]),
  shard(9, [500, 799], [206], [5]),
  shard(10, [800, END], [206], [5]),
]

/*
 *  0  3   6   9
 *  \ / \ / \ /
 *   2   5   8      from left to right; 9, 10 are open
 *  / \ / \ / \
 *  1  4   7  10
 */
export const TREE_B: readonly Shard[] = [
  shard(0, [0, 499], [1000, 1049]),
  shard(1, [500, END], [1000, 1049]),
  shard(2, [0, END], [1050, 1099], [0, 1]),
  shard(3, [0, 499], [1100, 1149], [2]),
  shard(4, [500, END], [1100, 1149], [2]),
  shard(5, [0, END], [1150, 1199], [3, 4]),
  shard(6, [0, 499], [1200, 1249], [5]),
  shard(7, [500, END], [1200, 1249], [5]),
  shard(8, [0, END], [1250, 1299], [6, 7]),
  shard(9, [0, 499], [1300], [8]),
  shard(10, [500, END], [1300], [8]),
]

/*
 *       0      1  2  3
 *     /   \    |  \ /
 *    4     5   1   6
 *   / \   / \  |   |
 *  7   8 9  10 1   6   7, 8, 9, 10, 1, 6 are open
 */
export const TREE_C: readonly Shard[] = [
  shard(0, [0, 399], [11, 102]),
  shard(1, [400, 499], [11]),
  shard(2, [500, 599], [11, 102]),
  shard(3, [600, END], [11, 102]),
  shard(4, [0, 199], [103, 205], [0]),
  shard(5, [200, 399], [103, 205], [0]),
  shard(6, [500, END], [103], [2, 3]),
  shard(7, [0, 99], [206], [4]),
  shard(8, [100, 199], [206], [4]),
  shard(9, [200, 299], [206], [5]),
  shard(10, [300, 399], [206], [5]),
]
