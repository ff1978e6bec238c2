/* What the kernel does for the protocol: names, inodes, locks on open files, events. */

/*
 * Lock files and requests never stand under each other's names, so each kind has its own inode
 * numbers, and a new file gets the lowest free one: that leaves fewer states that differ by
 * nothing but numbers. A number is free when it has no name and is not open, as on a disk.
 */
#define NL 5                    /* lock files: 1..NL */
#define NS 3                    /* requests: NL+1..NL+NS */
#define NI (NL + NS + 1)

byte LOCK, STOP, TEMP[N+1];     /* the names; 0: no such file */
byte ex[NI];                    /* who has the exclusive kernel lock, plus 1 */
byte sh[NI];                    /* bits of those who have a shared one */
byte kind[NI];                  /* what the stamp says: */
#define OURS   0
#define SHARED 1
#define STOCKS 2                /* a bare PID */
#ifdef STOCK
byte maker[NI];                 /* the PID in it */
#endif

/*
 * The open files of each process: F is the one it made or holds, G the one it probes, S its
 * request, T one that it only looks at. F and S are open for writing, so their end is an event.
 */
byte F[MAX], G[MAX], S[MAX], T[MAX];

#define OPENED(p,i) (F[p] == i || G[p] == i || S[p] == i || T[p] == i)
#if N > 2
#define STAGED(i) (TEMP[0] == i || TEMP[1] == i || TEMP[2] == i || TEMP[3] == i)
#else
#define STAGED(i) (TEMP[0] == i || TEMP[1] == i || TEMP[2] == i)
#endif
#define USED(i) (LOCK == i || STOP == i || STAGED(i) || OPENED(0, i) || OPENED(1, i) || OPENED(2, i))

byte new, k;                    /* scratch of a single step, zero in between */

inline alloc(from, to) {
	new = from;
	do
	:: USED(new) -> new++; assert(new <= to)
	:: else -> break
	od
}

/* What is not forgotten here would tell equal states apart. */
inline reap(i) {
	if
	:: i != 0 && !USED(i) ->
		kind[i] = 0; ex[i] = 0; sh[i] = 0;
#ifdef STOCK
		maker[i] = 0
#endif
	:: else
	fi
}

/*
 * flock(2). A conversion is an unlock and then a try, in two steps of the model: in between,
 * anybody may get the lock, and who is refused has lost what it had.
 */
#define REFUSED_X(p,i) ((ex[i] != 0 && ex[i] != p+1) || (sh[i] & ~BIT(p)))
#define REFUSED_S(p,i) (ex[i] != 0 && ex[i] != p+1)

inline unlock(p, i) {
	CLR(sh[i], p);
	if
	:: ex[i] == p+1 -> ex[i] = 0
	:: else
	fi
}

/*
 * inotify(7). A report is one bit per process, because the channel that it is passed on by has
 * room for one. Who is interested is asked when it happens.
 */
unsigned ev : MAX, onLock : MAX, onStop : MAX;
#define LOCK_EVENT ev = ev | onLock
#define STOP_EVENT ev = ev | onStop

/* IN_EXCL_UNLINK: the close of a file that has lost its name is no event. */
inline reportF(p) {
	if
	:: F[p] != 0 && LOCK == F[p] -> LOCK_EVENT
	:: else
	fi
}
inline reportS(p) {
	if
	:: S[p] != 0 && STOP == S[p] -> STOP_EVENT
	:: else
	fi
}
inline shut(p, fd) { k = fd; fd = 0; unlock(p, k); reap(k); k = 0 }
inline closeF(p) { reportF(p); shut(p, F[p]) }
inline closeS(p) { reportS(p); shut(p, S[p]) }
inline closeG(p) { shut(p, G[p]) }         /* read-only: no event */
inline closeT(p) { shut(p, T[p]) }

inline nameLock(i) { k = LOCK; LOCK = i; LOCK_EVENT; reap(k); k = 0 }
inline swapNames(i) { k = LOCK; LOCK = TEMP[i]; TEMP[i] = k; LOCK_EVENT; k = 0 }
inline dropTemp(i) { k = TEMP[i]; TEMP[i] = 0; reap(k); k = 0 }
inline dropStop() { k = STOP; STOP = 0; STOP_EVENT; reap(k); k = 0 }
