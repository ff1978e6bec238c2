/*
 * The protocol on disk of package filelocker, for one upload and up to three processes with
 * one acquirer each. README.md says which function each step stands for, and what is left out.
 *
 * Each d_step is one system call with the decision that follows from its answer, because that
 * is where another process can come in between. What a process does next is in a variable and
 * not in a control flow, so that a kill is an assignment, possible before every step.
 *
 * What must be true is in enter(), in the other assertions, and at the end of Fate; that
 * nobody sleeps for ever is spin's check for invalid end states, as a sleeper is no valid end.
 * Nothing polls here, so whom only the poll would wake is found as one.
 *
 * Settings, given to spin by -D; `check` has those that are run:
 *
 *   N            processes, 2 or 3
 *   WRITERS      bit p: process p writes, else it reads
 *   ROUNDS       how often each takes the lock
 *   KILLS        how many are killed, at most
 *   TIMEOUTS     how many waits end without the lock, at most
 *   CORPSE       a dead holder's lock file is there from the start: OURS+1, SHARED+1, STOCKS+1
 *   LITTER       so are its temporary file and its request
 *   STUCK        who makes a lock file may be so slow that others without a claim go on to the next temporary name
 *   STUBBORN     holders may choose to let go only when they are asked
 *   STOCK        a process with tusd's own locker takes part, and takes the lock so many times
 *   STOCK_RIGHT  what that one removes is a dead process's at the very moment of the removal
 *   STOCK_PAUSE  it does nothing between takeOver's last look and its rename
 *   STOCK_TOO    the stock process must never have the lock together with one of ours
 *   LOOKS        a look for a claim takes so many rounds and a last try, as the code does with 5 for a
 *                reader, and 1 for a writer, and must not see a claim where there was none. Without, any
 *                of its tries can be the last, in which is all that the code can do, with a round's
 *                number in no state
 *   STRICT_LEFT  a look leaves no request behind that nobody stands behind; it may see a claim where
 *                there was none
 *   BRIEF        who looks for a claim does nothing else between a round's shared lock and its end
 *   PROMPT       who waits may try before it listens and keep the lock file that it made, and who has
 *                waited may let go before it has looked through old requests
 *   COARSE       steps that nobody can come between are one
 *   BREAK_...    one rule of the protocol is broken, which has to be found
 */
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0
#endif

#define MAX 3
#define BIT(p)    (1 << (p))
#define HAS(m,p)  ((m) & BIT(p))
#define SET(m,p)  m = (m) | BIT(p)
#define CLR(m,p)  m = (m) & ~BIT(p)
#define WRITES(p) HAS(WRITERS, p)

#include "kernel.pml"

mtype = {
	START, DONE, DIE, DIE2, DEAD,
	CLAIM_OPEN, CLAIM_TRY, CLAIM_SHARE, CLAIM_UNSHARE, CLAIM_STAT, CLAIM_SAME, CLAIM_REMOVE, CLAIM_CLOSE,
	STAGE, SWEEP_OPEN, SWEEP_TRY, SWEEP_SAME, SWEEP_REMOVE, SWEEP_CLOSE, STAGE_AGAIN, STAMP, NAMED,
	PUBLISH, DISCARD, DISCARD_CLOSE, UNPROBE,
	OPEN, PROBE, PROBE_JUDGE, PROBE_SAME, TAKE_SAME, TAKE, BURY, TAKE_CLOSE, BROKEN_REMOVE,
	JOIN_OPEN, JOIN_TRY, JOIN_SAME,
	SLEEP, POST, TOUCH, POST_OPEN, POST_LOCK, POST_SAME,
	WITHDRAW, WITHDRAW_TRY, WITHDRAW_SAME, WITHDRAW_REMOVE, WITHDRAW_CLOSE,
	HOLD, HOLD_LOOK, HOLD_STAT, RELEASE, RELEASE_GIVE, RELEASE_TRY, RELEASE_SAME, RELEASE_REMOVE, RELEASE_CLOSE,
	STOCK_LINK, STOCK_READ, STOCK_JUDGE, STOCK_REMOVE, STOCK_ASK, STOCK_HOLD, STOCK_RMSTOP
};

mtype pc[MAX];
byte rounds[MAX];
byte phase[MAX];
#define FAST 0                  /* first try, which a writer can leave out: nobody is asked, nothing is listened to */
#define WAIT 1
#define GOT  2                  /* has the lock, and is about to look through old requests */
#define HELD 3

/* One bit per process. */
unsigned soon : MAX;            /* was refused by one who is only passing */
unsigned sawShared : MAX;       /* acquirer.seen is a shared hold */
unsigned leftover : MAX;        /* acquirer.leftover */
byte nth[MAX];                  /* the temporary name that it makes its lock file under */
unsigned posted : MAX;          /* request.posted */
#ifdef COARSE
#define TOLD(p) true            /* it is touched when it is locked, and not again */
#define TELLS(p,yes) skip
#define TOUCH_NOW STOP_EVENT
#else
#define TOLD(p) HAS(told, p)
#define TELLS(p,yes) told = (told & ~BIT(p)) | (yes << p)
#define TOUCH_NOW skip
unsigned told : MAX;            /* its request was made or touched by itself, and is not touched again soon */
#endif
unsigned doubtful : MAX;        /* hold.doubtful: was refused at a request when it got the lock */
unsigned asked : MAX;           /* a holder has heard that it is wanted, or that its lock is lost */
unsigned stubborn : MAX;        /* a holder that lets go only when asked */
unsigned quit : MAX;            /* the context of its wait has ended */
unsigned trying : MAX;          /* wants the lock and does not have it */
unsigned writing : MAX;         /* has it, in its own opinion */
unsigned reading : MAX;

/* Claims, to see that they keep out: whoever looks sees those that stand, and no later one. */
unsigned claim : MAX;
byte bar[MAX];                  /* of those that this reader's last look came after, the ones that still stand */

/* Litter, which the next one to make a lock file removes if the dead are dead by its start. */
unsigned fresh : MAX;           /* has started since the last death */
unsigned made : MAX;            /* has made its lock file, and was not kept from sweeping the request */
bit dirty;                      /* somebody has died, and no such one has come since */
bit soiled;                     /* somebody has died */

mtype stock;                    /* the next step of the stock process */
bit stocking;                   /* which has the lock, in its opinion */
#define GHOST 9                 /* the PID of one who was dead from the start */
#define PID_DEAD(m) (m >= MAX -> (m == GHOST || stock == DEAD) : pc[m] == DEAD)

/* What another process may do to the names that a process of ours has. */
#ifdef STOCK
#define STOP_GOES true
#else
#define STOP_GOES false
#endif
#if (defined(STOCK) && !(defined(STOCK_RIGHT) && defined(STOCK_PAUSE))) || defined(BREAK_UNLINK) || defined(BREAK_LETGO) || defined(BREAK_LASTOUT)
#define LOCK_GOES true
#else
#define LOCK_GOES false
#endif

/* A takeover gives a temporary name to what stock has put in the place of the dead file, which has no kernel lock. */
#if defined(STOCK) && !defined(STOCK_PAUSE)
#define TEMP_GOES true
#else
#define TEMP_GOES false
#endif

#define NTH(p) nth[p]
#define CLAIMS(p) (WRITES(p) && HAS(posted, p))
#define DYING(q) (pc[q] == DIE || pc[q] == DIE2)

/*
 * The first looks after a refusal follow each other within milliseconds, so who is refused by
 * one that probes, dies, or has yet to look through old requests sees the end of that.
 */
#define LOCKS(q,i) (ex[i] == q+1 || HAS(sh[i], q))
#define PASSING(p,q,i) (q != p && LOCKS(q, i) && (phase[q] != HELD || HAS(doubtful, q) || DYING(q)))
#define PASSES(p,i) (PASSING(p, 0, i) || PASSING(p, 1, i) || PASSING(p, 2, i))
/* A claim is there for longer; who looks whether there is one is not. */
#define GLANCING(q,i) (HAS(sh[i], q) && (T[q] == i || DYING(q)))
#define GLANCES(i) (ex[i] != 0 || GLANCING(0, i) || GLANCING(1, i) || GLANCING(2, i))

inline refused(p, passing) {
	if
#ifndef BREAK_RETRY
	:: passing -> SET(soon, p)
#endif
	:: else
	fi
}

/* A claim that does not stand any more keeps nobody out. */
inline unclaim(c) {
	claim = claim & ~(c);
	bar[0] = bar[0] & ~(c); bar[1] = bar[1] & ~(c); bar[2] = bar[2] & ~(c)
}

/* The lock is taken: the one place where it is checked that nobody else has it. */
inline enter(p) {
	assert(!writing);
#ifdef STOCK_TOO
	assert(!stocking);
#endif
	if
	:: WRITES(p) -> assert(!reading); SET(writing, p)
	:: else -> assert(!bar[p] || STOP_GOES); SET(reading, p)
	fi;
	CLR(trying, p); CLR(onLock, p); CLR(onStop, p); CLR(ev, p); CLR(soon, p); CLR(sawShared, p); CLR(quit, p);
	bar[p] = 0;
	pc[p] = WITHDRAW
}

inline leave(p) {
	CLR(writing, p); CLR(reading, p); CLR(asked, p); CLR(doubtful, p); CLR(stubborn, p);
	CLR(onLock, p); CLR(onStop, p); CLR(ev, p)
}

inline endRound(p) {
	phase[p] = FAST; CLR(leftover, p); CLR(made, p); CLR(fresh, p);
	rounds[p]--;
	if
	:: rounds[p] -> pc[p] = START
	:: else -> pc[p] = DONE
	fi
}

/* Returns from tryOnce: with errAgain, and with errBusy. */
inline again(p) {
	nth[p] = 0;
	if
	:: G[p] -> pc[p] = UNPROBE
	:: else -> pc[p] = OPEN
	fi
}
inline busy(p) {
	if
	:: phase[p] == FAST -> listen(p)
	:: phase[p] == WAIT && !HAS(onLock, p) -> hearAndAsk(p)
	:: phase[p] == WAIT && HAS(onLock, p) && !WRITES(p) && !HAS(sawShared, p) -> pc[p] = POST
	:: else -> pc[p] = SLEEP
	fi
}

/* A lock file that appears where there was none tells a writer that waits nothing. */
#define HEARS_NEW(p) (HAS(onLock, p) && !(phase[p] == WAIT && WRITES(p)))
inline nameNew(i) {
	LOCK = i;
	ev = ev | (onLock & ((HEARS_NEW(0) -> 1 : 0) | (HEARS_NEW(1) -> 2 : 0) | (HEARS_NEW(2) -> 4 : 0)))
}

/*
 * Another process makes a lock file, and is about to have the lock. A writer waits; a reader, who
 * may be able to join, tries again.
 */
inline making(p) {
#if defined(COARSE) && WRITERS != 7
	again(p)	/* as a writer does that gets there a moment later */
#else
	if
	:: WRITES(p) ->
		nth[p] = 0; SET(soon, p);
		if
		:: G[p] -> closeG(p)
		:: else
		fi;
		busy(p)
	:: else -> again(p)
	fi
#endif
}

/* A writer asks before it listens, and can try once in between. */
inline listen(p) {
	phase[p] = WAIT;
	if
	:: WRITES(p) -> CLR(soon, p); CLR(sawShared, p); pc[p] = POST
	:: else -> hear(p); look(p)
	fi
}
inline hear(p) { SET(onLock, p); CLR(ev, p) }
inline hearAndAsk(p) {
	hear(p);
#ifdef COARSE
	lookAt(p)	/* nobody removes what it has locked */
#else
	pc[p] = POST
#endif
}
inline lookAt(p) {
	if
	:: F[p] -> pc[p] = PUBLISH
	:: else -> pc[p] = OPEN
	fi
}
inline hasAsked(p) {
	if
	:: HAS(onLock, p) -> lookAt(p)
	:: else -> hearAndAsk(p)
	fi
}

/* A writer asks and then tries; a reader first looks for a claim. */
inline look(p) {
	CLR(soon, p); CLR(sawShared, p);
	if
	:: WRITES(p) -> pc[p] = POST
	:: else -> SET(onStop, p); pc[p] = CLAIM_OPEN
	fi
}

inline settle(p) {
	phase[p] = HELD; CLR(leftover, p);
	SET(onLock, p); SET(onStop, p);
#ifndef BREAK_DEAF
	SET(ev, p);
#endif
	pc[p] = HOLD
}

/* What a look is for: whether a writer stands behind the request. */
#define STANDS(q,i) (WRITES(q) && S[q] == i && HAS(sh[i], q))
#define CLAIMED(i) (STANDS(0, i) || STANDS(1, i) || STANDS(2, i))

/* With LOOKS, the rounds of a look are counted, and it is noted if a writer stood behind the request. */
#ifdef LOOKS
byte round[MAX];
unsigned stood : MAX;
inline lookStarts(p) {
	if
	:: CLAIMED(T[p]) -> SET(stood, p)
	:: else
	fi
}
inline writerStands(i) {
	stood = stood | (T[0] == i) | ((T[1] == i) << 1) | ((T[2] == i) << 2)
}
inline lookEnds(p) { round[p] = 0; CLR(stood, p) }
inline unshare(p) {
	unlock(p, T[p]);
	round[p]++;
	pc[p] = CLAIM_TRY
}
inline stillRefused(p) {
	if
	:: round[p] == (WRITES(p) -> 1 : LOOKS) -> pc[p] = CLAIM_STAT	/* by now it is a claim */
	:: else -> pc[p] = CLAIM_SHARE
	fi
}
#else
#define stillRefused(p) pc[p] = CLAIM_SHARE
#define lookStarts(p)
#define writerStands(i)
#define lookEnds(p)
#endif

inline claimDone(p, claimed) {
	if
	:: phase[p] == FAST && claimed -> listen(p)
	:: phase[p] == FAST && !claimed -> pc[p] = STAGE
	:: phase[p] == WAIT && claimed -> pc[p] = SLEEP
	:: phase[p] == WAIT && !claimed -> CLR(onStop, p); CLR(soon, p); pc[p] = OPEN
	:: phase[p] >= GOT ->
		if
		:: claimed -> SET(asked, p)
		:: else
		fi;
		if
		:: phase[p] == GOT -> settle(p)
		:: else -> CLR(doubtful, p); pc[p] = HOLD
		fi
	fi
}

/* Who takes another look for a claim leaves a request to the next one, as the dead do. */
inline gaveUp(p) {
	if
	:: phase[p] == GOT -> CLR(made, p)
	:: else
	fi;
	if
#ifndef STRICT_LEFT
	:: !CLAIMED(T[p]) -> dirty = 1; fresh = 0
#endif
	:: else
	fi
}
inline keptFromSweeping(p) {
	if
	:: phase[p] == GOT -> CLR(made, p)
	:: phase[p] < GOT -> CLR(fresh, p)	/* does not know of it, so does not look again when it has the lock */
	:: else
	fi
}

/* Who has got the lock does not wait to find out who has locked a request; its holder's look does. */
#define GLANCE(p) (phase[p] == GOT)
#define GIVES_UP(p) (!GLANCE(p))

#ifdef BRIEF
/* A writer's is the first half of a conversion. */
inline thenUnshare(p) {
	unshare(p);
	if
	:: WRITES(p) && REFUSED_X(p, T[p]) -> pc[p] = CLAIM_STAT
	:: WRITES(p) && !REFUSED_X(p, T[p]) -> ex[T[p]] = p+1; pc[p] = CLAIM_SAME
	:: else
	fi
}
#define THEN_UNSHARE thenUnshare(p)
#else
#define THEN_UNSHARE pc[p] = CLAIM_UNSHARE
#endif

/* What a trail (spin -t) is read by. */
#define SAY printf("%d %e\n", p, pc[p])
#define SAY_STOCK printf("stock %e\n", stock)

#define AT(step) pc[p] == step

inline withdrawn(p) {
	if
	:: !HAS(writing | reading, p) -> endRound(p)
	:: HAS(writing, p) || HAS(leftover, p) -> phase[p] = GOT; pc[p] = CLAIM_OPEN
	:: else -> settle(p)
	fi
}

/*
 * Nobody can come between two steps if one of them only looks, and what it sees cannot change
 * because its process has the kernel lock that this takes. COARSE makes one step of each such
 * pair, for three processes: a kill in between leaves what one before or after it does. With
 * two they are apart, and assertions show that nothing has changed in between.
 */
#ifdef COARSE
#define THEN(step, action) action
#else
#define THEN(step, action) pc[p] = step
#endif

/* A lock is held by somebody else, who is not known to be dead, and nothing is staged. */
inline held(p) {
	if
	:: HAS(sawShared, p) && !WRITES(p) -> pc[p] = JOIN_OPEN
	:: else -> busy(p)
	fi
}
inline heldByOther(p) {
	closeG(p);
	if
	:: F[p] -> pc[p] = DISCARD
	:: else -> held(p)
	fi
}
inline probeRefused(p) {
	refused(p, PASSES(p, G[p]));
	if
	:: kind[G[p]] == SHARED -> SET(sawShared, p)
	:: else -> CLR(sawShared, p)
	fi
}

inline named(p) {
	if
	:: F[p] != TEMP[NTH(p)] && F[p] != LOCK -> closeF(p); again(p)
	:: else ->
		if
		:: G[p] -> pc[p] = TAKE_SAME
		:: else -> pc[p] = PUBLISH
		fi
	fi
}
inline sweepTemp(i) {
	if
	:: TEMP[i] && !ex[TEMP[i]] && !sh[TEMP[i]] -> dropTemp(i)
	:: else
	fi
}
/* The lock files that those have left who stood behind a request, which is about to be removed. */
inline sweepTemps() {
	sweepTemp(0); sweepTemp(1); sweepTemp(2)
#if N > 2
	; sweepTemp(3)
#endif
}
inline sweepRemove(p) { assert(TEMP[NTH(p)] == T[p] || TEMP_GOES); dropTemp(NTH(p)); pc[p] = SWEEP_CLOSE }
inline claimRemove(p) {
	assert(STOP == T[p] || STOP_GOES);
	sweepTemps();
	dropStop(); pc[p] = CLAIM_CLOSE
}
inline touch(p) {
	if
	:: TOLD(p)
	:: else -> reportS(p); TELLS(p, 1)
	fi;
	if
	:: WRITES(p) -> hasAsked(p)
	:: else -> pc[p] = SLEEP
	fi
}
inline withdrawRemove(p) {
	assert(STOP == S[p] || STOP_GOES);
#ifndef BREAK_LITTER
	sweepTemps();
#endif
	dropStop(); pc[p] = WITHDRAW_CLOSE
}
inline holdStat(p) {
	if
	:: STOP -> SET(asked, p)
	:: else
	fi;
	pc[p] = HOLD
}
inline releaseGive(p) { unlock(p, F[p]); pc[p] = RELEASE_TRY }	/* the first half of a conversion */
inline releaseRemove(p) {
	assert(LOCK == F[p] || LOCK_GOES);
	nameLock(0); pc[p] = RELEASE_CLOSE
}

inline start(p) {
	SET(trying, p);
	if
	:: DYING(0) || DYING(1) || DYING(2)
	:: else -> SET(fresh, p)
	fi
}

proctype Process(byte p) {
	do
	:: d_step { AT(START) -> SAY;
		start(p);
		if
		:: WRITES(p) -> pc[p] = STAGE
		:: else -> pc[p] = CLAIM_OPEN
		fi
	   }
	:: d_step { AT(START) && WRITES(p) && LOCK -> SAY; start(p); listen(p) }	/* sees it, so asks first */

	/* ---- Is there a writer's claim? ---- */

	:: d_step { AT(CLAIM_OPEN) -> SAY;
		if
		:: phase[p] < GOT -> bar[p] = claim; CLR(leftover, p)
		:: else
		fi;
		if
		:: STOP -> T[p] = STOP; lookStarts(p); pc[p] = CLAIM_TRY
		:: else -> claimDone(p, false)
		fi
	   }
	:: d_step { AT(CLAIM_TRY) -> SAY;
		CLR(soon, p);
		if
#ifdef BREAK_SWEEP
		:: phase[p] >= GOT -> pc[p] = CLAIM_SAME
#else
		:: GLANCE(p) && REFUSED_X(p, T[p]) ->
			keptFromSweeping(p); lookEnds(p); closeT(p); SET(doubtful, p); settle(p)
#endif
		:: !GLANCE(p) && REFUSED_X(p, T[p]) ->
			if
			:: phase[p] < GOT -> refused(p, GLANCES(T[p]))
			:: else
			fi;
#ifdef BREAK_GLANCE
			pc[p] = CLAIM_STAT
#else
			stillRefused(p)
#endif
		:: else ->
			ex[T[p]] = p+1;
			if
			:: phase[p] < GOT -> SET(leftover, p); pc[p] = CLAIM_CLOSE
			:: else -> pc[p] = CLAIM_SAME
			fi
		fi
	   }
	:: d_step { AT(CLAIM_SHARE) -> SAY;
		if
		:: REFUSED_S(p, T[p]) && WRITES(p) -> lookEnds(p); closeT(p); SET(ev, p); pc[p] = HOLD	/* looks again */
		:: REFUSED_S(p, T[p]) && !WRITES(p) -> CLR(soon, p); keptFromSweeping(p); lookEnds(p); closeT(p); claimDone(p, false)
		:: else -> SET(sh[T[p]], p); THEN_UNSHARE
		fi
	   }
#ifdef LOOKS
	:: d_step { AT(CLAIM_UNSHARE) -> SAY; unshare(p) }
#else
	:: d_step { AT(CLAIM_UNSHARE) -> SAY; unlock(p, T[p]); pc[p] = CLAIM_TRY }
	:: d_step { AT(CLAIM_TRY) && REFUSED_X(p, T[p]) && GIVES_UP(p) -> SAY;	/* the last try */
		if
		:: phase[p] < GOT -> refused(p, GLANCES(T[p]))
		:: else
		fi;
		pc[p] = CLAIM_STAT
	   }
#endif
	:: d_step { AT(CLAIM_STAT) -> SAY;
#if defined(LOOKS) && !defined(STRICT_LEFT)
		assert(!STOP || HAS(stood, p));
#endif
		if
		:: STOP -> gaveUp(p); lookEnds(p); closeT(p); claimDone(p, true)
		:: else -> CLR(soon, p); lookEnds(p); closeT(p); claimDone(p, false)
		fi
	   }
	:: d_step { AT(CLAIM_SAME) -> SAY;
		if
		:: STOP == T[p] -> THEN(CLAIM_REMOVE, claimRemove(p))
		:: else -> pc[p] = CLAIM_CLOSE
		fi
	   }
	:: d_step { AT(CLAIM_REMOVE) -> SAY; claimRemove(p) }
	:: d_step { AT(CLAIM_CLOSE) -> SAY; lookEnds(p); closeT(p); claimDone(p, false) }

	/* ---- Make a lock file under the temporary name ---- */

	:: d_step { (pc[p] == STAGE || pc[p] == STAGE_AGAIN) -> SAY;
		if
		:: CLAIMS(p) && !nth[p] -> nth[p] = 1
		:: else
		fi;
		if
		:: !TEMP[NTH(p)] ->
			alloc(1, NL); TEMP[NTH(p)] = new; F[p] = new; new = 0;
			pc[p] = STAMP
		:: TEMP[NTH(p)] && pc[p] == STAGE -> pc[p] = SWEEP_OPEN
		:: else -> again(p)
		fi
	   }
	:: d_step { AT(SWEEP_OPEN) -> SAY;
		if
		:: TEMP[NTH(p)] -> T[p] = TEMP[NTH(p)]; pc[p] = SWEEP_TRY
		:: else -> pc[p] = STAGE_AGAIN
		fi
	   }
	:: d_step { AT(SWEEP_TRY) -> SAY;
		if
		:: REFUSED_X(p, T[p]) && CLAIMS(p) -> closeT(p); nth[p]++; assert(nth[p] <= N); pc[p] = STAGE
		:: REFUSED_X(p, T[p]) && !CLAIMS(p) -> closeT(p); making(p)
		:: else -> ex[T[p]] = p+1; pc[p] = SWEEP_SAME
		fi
	   }
#ifdef STUCK
	:: d_step { AT(SWEEP_TRY) && REFUSED_X(p, T[p]) && !CLAIMS(p) && !nth[p] -> SAY;
		closeT(p); nth[p] = 1; pc[p] = STAGE
	   }
#endif
	:: d_step { AT(SWEEP_SAME) -> SAY;
		if
		:: TEMP[NTH(p)] == T[p] -> THEN(SWEEP_REMOVE, sweepRemove(p))
		:: else -> pc[p] = SWEEP_CLOSE
		fi
	   }
	:: d_step { AT(SWEEP_REMOVE) -> SAY; sweepRemove(p) }
	:: d_step { AT(SWEEP_CLOSE) -> SAY; closeT(p); pc[p] = STAGE_AGAIN }
	:: d_step { AT(STAMP) -> SAY;
		if
		:: WRITES(p) && !REFUSED_X(p, F[p]) -> ex[F[p]] = p+1; THEN(NAMED, named(p))
		:: !WRITES(p) && !REFUSED_S(p, F[p]) -> SET(sh[F[p]], p); kind[F[p]] = SHARED; THEN(NAMED, named(p))
		:: else -> closeF(p); again(p)
		fi;
#ifdef STOCK
		if
		:: pc[p] == NAMED -> maker[F[p]] = p
		:: else
		fi
#endif
	   }
	:: d_step { AT(NAMED) -> SAY; named(p) }

	/* ---- Give it the name ---- */

	:: d_step { AT(PUBLISH) -> SAY;
		assert(TEMP[NTH(p)] == F[p] || TEMP_GOES);
		if
		:: !LOCK -> nameNew(TEMP[NTH(p)]); dropTemp(NTH(p)); nth[p] = 0; SET(made, p); enter(p)
		:: else -> pc[p] = OPEN		/* what is staged is kept for a takeover */
		fi
	   }
	:: d_step { AT(DISCARD) -> SAY; assert(TEMP[NTH(p)] == F[p] || TEMP_GOES); dropTemp(NTH(p)); nth[p] = 0; pc[p] = DISCARD_CLOSE }
	:: d_step { AT(DISCARD_CLOSE) -> SAY;
		closeF(p);
		if
		:: !HAS(trying, p) -> pc[p] = WITHDRAW
		:: HAS(trying, p) && G[p] -> again(p)
		:: else -> held(p)
		fi
	   }
	:: d_step { AT(UNPROBE) -> SAY; closeG(p); pc[p] = OPEN }

	/* ---- See who has it ---- */

	:: d_step { AT(OPEN) -> SAY;
		CLR(soon, p);
		if
		:: LOCK -> G[p] = LOCK; pc[p] = PROBE
		:: !LOCK && F[p] -> pc[p] = PUBLISH
		:: else -> pc[p] = STAGE
		fi
	   }
	:: d_step { AT(PROBE) -> SAY;
		if
		:: REFUSED_X(p, G[p]) ->
			probeRefused(p); heldByOther(p)
		:: else ->
			ex[G[p]] = p+1;
			if
			:: kind[G[p]] == STOCKS -> pc[p] = PROBE_JUDGE
			:: else -> pc[p] = PROBE_SAME
			fi
		fi
	   }
#ifdef PROMPT
	:: d_step { AT(PROBE) && REFUSED_X(p, G[p]) && F[p] && WRITES(p) && phase[p] == WAIT -> SAY;	/* is to have it in a moment */
		probeRefused(p); closeG(p); held(p)
	   }
#endif
#ifdef STOCK
	:: d_step { AT(PROBE_JUDGE) -> SAY;
		if
		:: PID_DEAD(maker[G[p]]) -> pc[p] = PROBE_SAME
		:: else -> CLR(sawShared, p); heldByOther(p)
		fi
	   }
#endif
	:: d_step { AT(PROBE_SAME) -> SAY;
#ifdef BREAK_UNLINK
		unlock(p, G[p]);
#endif
		if
		:: LOCK != G[p] -> pc[p] = UNPROBE
#ifdef BREAK_UNLINK
		:: else -> pc[p] = BROKEN_REMOVE
#else
		:: LOCK == G[p] && F[p] -> pc[p] = TAKE_SAME
		:: else -> pc[p] = STAGE
#endif
		fi
	   }
	:: d_step { AT(BROKEN_REMOVE) -> SAY; nameLock(0); pc[p] = UNPROBE }

	/* ---- Replace a dead holder's file, with its kernel lock ---- */

	:: d_step { AT(TAKE_SAME) -> SAY;
		if
		:: LOCK != G[p] -> pc[p] = DISCARD
		:: else ->
#ifdef BREAK_LETGO
			unlock(p, G[p]);
#endif
			pc[p] = TAKE
		fi
	   }
	:: d_step { AT(TAKE) -> SAY;
		assert(TEMP[NTH(p)] == F[p] || TEMP_GOES);
		assert(LOCK == G[p] || LOCK_GOES);
		if
		:: LOCK -> swapNames(NTH(p)); pc[p] = BURY
		:: else -> pc[p] = DISCARD
		fi
	   }
	:: d_step { AT(BURY) -> SAY;
		if
		:: TEMP[NTH(p)] == G[p] -> dropTemp(NTH(p)); nth[p] = 0; SET(made, p); enter(p); pc[p] = TAKE_CLOSE
		:: TEMP[NTH(p)] != G[p] && TEMP[NTH(p)] && LOCK -> swapNames(NTH(p)); pc[p] = DISCARD	/* that was stock's */
		:: else -> nth[p] = 0; pc[p] = DISCARD_CLOSE
		fi
	   }
	:: d_step { AT(TAKE_CLOSE) -> SAY; closeG(p); pc[p] = WITHDRAW }

	/* ---- Share the lock of other readers ---- */

	:: d_step { AT(JOIN_OPEN) -> SAY;
		if
		:: LOCK -> F[p] = LOCK; pc[p] = JOIN_TRY
		:: else -> pc[p] = OPEN
		fi
	   }
	:: d_step { AT(JOIN_TRY) -> SAY;
		if
		:: REFUSED_S(p, F[p]) -> refused(p, PASSES(p, F[p])); closeF(p); busy(p)
		:: else -> SET(sh[F[p]], p); pc[p] = JOIN_SAME
		fi
	   }
	:: d_step { AT(JOIN_SAME) -> SAY;
		if
		:: kind[F[p]] == SHARED && LOCK == F[p] -> enter(p)
		:: else -> closeF(p); pc[p] = OPEN
		fi
	   }

	/* ---- Wait, with a request on disk ---- */

	:: d_step { pc[p] == SLEEP && (HAS(ev, p) || HAS(soon, p)) -> SAY; CLR(ev, p); look(p) }
	:: d_step { pc[p] == SLEEP && HAS(quit, p) -> SAY;
		CLR(trying, p); CLR(onLock, p); CLR(onStop, p); CLR(ev, p); CLR(soon, p); CLR(sawShared, p); CLR(quit, p);
		bar[p] = 0;
		if
		:: F[p] -> pc[p] = DISCARD
		:: else -> pc[p] = WITHDRAW
		fi
	   }
	:: d_step { AT(POST) -> SAY;
		if
		:: !HAS(posted, p) -> pc[p] = POST_OPEN
		:: HAS(posted, p) && STOP == S[p] -> pc[p] = TOUCH
		:: else -> CLR(posted, p); unclaim(BIT(p)); closeS(p); pc[p] = POST_OPEN
		fi
	   }
	:: d_step { AT(TOUCH) -> SAY; touch(p) }
	:: d_step { AT(POST_OPEN) -> SAY;
		if
		:: STOP -> S[p] = STOP; TELLS(p, 0)
		:: else -> alloc(NL+1, NL+NS); STOP = new; S[p] = new; new = 0; STOP_EVENT; TELLS(p, 1)
		fi;
#ifdef BREAK_CLAIM
		pc[p] = POST_SAME
#else
		if
		:: WRITES(p) -> pc[p] = POST_LOCK
		:: else -> pc[p] = POST_SAME
		fi
#endif
	   }
	:: d_step { AT(POST_LOCK) -> SAY;
		if
		:: REFUSED_S(p, S[p]) -> closeS(p); pc[p] = POST_OPEN
		:: else -> SET(sh[S[p]], p); writerStands(S[p]); TOUCH_NOW; pc[p] = POST_SAME
		fi
	   }
	:: d_step { AT(POST_SAME) -> SAY;
		if
		:: STOP != S[p] -> closeS(p); pc[p] = POST_OPEN
		:: STOP == S[p] && WRITES(p) -> SET(posted, p); SET(claim, p); hasAsked(p)
		:: else -> SET(posted, p); TOUCH_NOW; pc[p] = SLEEP
		fi
	   }

#ifdef PROMPT
	:: d_step { AT(POST_SAME) && STOP == S[p] && WRITES(p) && !HAS(onLock, p) -> SAY;	/* the holder may let go at once */
		SET(posted, p); SET(claim, p); pc[p] = STAGE
	   }
#endif

	/* ---- Take the request back: after the wait, with the lock or without ---- */

	:: d_step { AT(WITHDRAW) -> SAY;
		if
		:: HAS(posted, p) -> CLR(posted, p); TELLS(p, 0); unclaim(BIT(p)); unlock(p, S[p]); pc[p] = WITHDRAW_TRY
		:: else -> withdrawn(p)
		fi
	   }
	:: d_step { AT(WITHDRAW_TRY) -> SAY;
		if
		:: REFUSED_X(p, S[p]) -> pc[p] = WITHDRAW_CLOSE
		:: else -> ex[S[p]] = p+1; pc[p] = WITHDRAW_SAME
		fi
	   }
	:: d_step { AT(WITHDRAW_SAME) -> SAY;
		if
		:: STOP == S[p] -> THEN(WITHDRAW_REMOVE, withdrawRemove(p))
		:: else -> pc[p] = WITHDRAW_CLOSE
		fi
	   }
	:: d_step { AT(WITHDRAW_REMOVE) -> SAY; withdrawRemove(p) }
	:: d_step { AT(WITHDRAW_CLOSE) -> SAY; closeS(p); withdrawn(p) }
#ifdef PROMPT
	:: d_step { AT(WITHDRAW_CLOSE) && HAS(writing, p) && phase[p] == WAIT -> SAY;	/* lets go before its first look */
		closeS(p); CLR(made, p); leave(p); pc[p] = RELEASE
	   }
#endif

	/* ---- Hold ---- */

	:: d_step { AT(HOLD) && HAS(ev, p) -> SAY; CLR(ev, p); pc[p] = HOLD_LOOK }
#ifdef STUBBORN
	:: d_step { pc[p] == HOLD && !HAS(stubborn, p) && !HAS(asked, p) && (trying & ~BIT(p)) -> SAY; SET(stubborn, p) }
#endif
	:: d_step { pc[p] == HOLD && (!HAS(stubborn, p) || HAS(asked, p) || !(trying & ~BIT(p))) -> SAY;
		leave(p); pc[p] = RELEASE
	   }
	:: d_step { AT(HOLD_LOOK) -> SAY;
		assert(LOCK == F[p] || LOCK_GOES);
		if
		:: LOCK != F[p] -> SET(asked, p); pc[p] = HOLD
		:: LOCK == F[p] && WRITES(p) && !HAS(doubtful, p) -> THEN(HOLD_STAT, holdStat(p))
		:: else -> pc[p] = CLAIM_OPEN
		fi
	   }
	:: d_step { AT(HOLD_STAT) -> SAY; holdStat(p) }

	/* ---- Give it back ---- */

	:: d_step { AT(RELEASE) -> SAY;
#ifndef BREAK_LOSS
		assert(LOCK == F[p] || LOCK_GOES);	/* else Unlock says that the lock was lost */
#endif
		if
#ifndef BREAK_LOSS
		:: LOCK != F[p] -> pc[p] = RELEASE_CLOSE
#endif
#ifndef BREAK_LASTOUT
		:: LOCK == F[p] && !WRITES(p) -> THEN(RELEASE_GIVE, releaseGive(p))
#endif
		:: else -> THEN(RELEASE_REMOVE, releaseRemove(p))
		fi
	   }
	:: d_step { AT(RELEASE_GIVE) -> SAY; releaseGive(p) }
	:: d_step { AT(RELEASE_TRY) -> SAY;
		if
		:: REFUSED_X(p, F[p]) -> pc[p] = RELEASE_CLOSE
		:: else -> ex[F[p]] = p+1; pc[p] = RELEASE_SAME
		fi
	   }
	:: d_step { AT(RELEASE_SAME) -> SAY;
#ifdef BREAK_LOSS
		assert(LOCK == F[p] || LOCK_GOES);
#endif
		if
		:: LOCK == F[p] -> THEN(RELEASE_REMOVE, releaseRemove(p))
		:: else -> pc[p] = RELEASE_CLOSE	/* no loss: it was replaced within the conversion */
		fi
	   }
	:: d_step { AT(RELEASE_REMOVE) -> SAY; releaseRemove(p) }
	:: d_step { AT(RELEASE_CLOSE) -> SAY;
		closeF(p);
		if
		:: HAS(fresh, p) && HAS(made, p) -> dirty = 0
		:: else
		fi;
		endRound(p)
	   }

	/* ---- Killed. A file's close is reported before its lock is free ---- */

	:: d_step { AT(DIE) -> SAY; shut(p, F[p]); shut(p, G[p]); pc[p] = DIE2 }
	:: d_step { AT(DIE2) -> SAY;
		shut(p, S[p]); shut(p, T[p]);
		fresh = 0; phase[p] = FAST; pc[p] = DEAD
	   }
	:: pc[p] == DEAD || pc[p] == DONE -> break
	od
}

/* All closes are reported at once: who is woken too early is woken by one who still dies. */
inline kill(p) {
	printf("%d killed\n", p);
	leave(p); unclaim(BIT(p));
	CLR(trying, p); CLR(soon, p); CLR(sawShared, p); CLR(leftover, p); CLR(posted, p); TELLS(p, 0); CLR(quit, p); CLR(made, p); nth[p] = 0;
	lookEnds(p); bar[p] = 0; rounds[p] = 0; dirty = 1; soiled = 1; fresh = 0;
	reportF(p); reportS(p);
	pc[p] = DIE
}

#define CAN_DIE(p) (pc[p] != 0 && pc[p] != START && pc[p] != DONE && pc[p] != DEAD && !DYING(p))
#define OVER(p) (pc[p] == 0 || pc[p] == DONE || pc[p] == DEAD)

/*
 * What befalls the processes. It may end at any time, with kills to spare: else a sleeper that
 * could still be killed would not count as one that sleeps for ever.
 */
proctype Fate() {
	byte kills = KILLS, timeouts = TIMEOUTS;
	do
	:: d_step { kills && CAN_DIE(0) -> kills--; kill(0) }
	:: d_step { kills && CAN_DIE(1) -> kills--; kill(1) }
	:: d_step { kills && CAN_DIE(2) -> kills--; kill(2) }
	:: d_step { timeouts && phase[0] == WAIT && HAS(trying, 0) && !HAS(quit, 0) -> timeouts--; SET(quit, 0) }
	:: d_step { timeouts && phase[1] == WAIT && HAS(trying, 1) && !HAS(quit, 1) -> timeouts--; SET(quit, 1) }
	:: d_step { timeouts && phase[2] == WAIT && HAS(trying, 2) && !HAS(quit, 2) -> timeouts--; SET(quit, 2) }
#ifdef STOCK
	:: d_step { kills && stock != DONE && stock != DEAD -> kills--; printf("stock killed\n");
		stocking = 0; stock = DEAD;
		LOCK_EVENT	/* the poll in fact: nothing reports the death of one without open files */
	   }
#endif
	:: d_step { kills = 0; timeouts = 0 } -> break
	od;
	OVER(0) && OVER(1) && OVER(2) && (stock == 0 || stock == DONE || stock == DEAD);
#ifdef STOCK
	assert(soiled || !TEMP[0]);	/* the stock locker leaves its request behind */
#else
	assert(dirty || (!LOCK && !TEMP[0] && !STOP));
#endif
#if !defined(STOCK) && !defined(STUCK)
	assert(dirty || (!TEMP[1] && !TEMP[2] && !TEMP[N]));
#endif
	assert(soiled || (!TEMP[1] && !TEMP[2] && !TEMP[N]))
}

#ifdef STOCK
/*
 * tusd's own locker, as far as it touches what is ours. It judges by PID alone, and removes by
 * name what it has read some time before. It polls, so it never sleeps.
 */
#ifdef STOCK_PAUSE
#define STOCK_GOES (pc[0] != TAKE && pc[1] != TAKE && pc[2] != TAKE)
#else
#define STOCK_GOES true
#endif
#define STOCK_AT(step) stock == step && STOCK_GOES

proctype Stock() {
	byte who, left = STOCK;
	do
	:: d_step { STOCK_AT(STOCK_LINK) -> SAY_STOCK;
		if
		:: LOCK -> stock = STOCK_READ
		:: else ->
			alloc(1, NL); kind[new] = STOCKS; maker[new] = MAX; nameNew(new); new = 0;
#ifdef STOCK_TOO
			assert(!writing && !reading);
#endif
			stocking = 1; stock = STOCK_HOLD
		fi
	   }
	:: d_step { STOCK_AT(STOCK_READ) -> SAY_STOCK;
		if
		:: LOCK -> who = maker[LOCK]; stock = STOCK_JUDGE
		:: else -> stock = STOCK_LINK
		fi
	   }
	:: d_step { STOCK_AT(STOCK_JUDGE) -> SAY_STOCK;
		if
		:: PID_DEAD(who) -> stock = STOCK_REMOVE
		:: else -> stock = STOCK_ASK
		fi;
		who = 0
	   }
	:: d_step { STOCK_AT(STOCK_REMOVE) -> SAY_STOCK;
		if
#ifdef STOCK_RIGHT
		:: LOCK && PID_DEAD(maker[LOCK]) -> nameLock(0)
#else
		:: LOCK -> nameLock(0)
#endif
		:: else
		fi;
		stock = STOCK_LINK
	   }
	:: d_step { STOCK_AT(STOCK_ASK) -> SAY_STOCK;
		if
		:: STOP
		:: else -> alloc(NL+1, NL+NS); STOP = new; new = 0; STOP_EVENT
		fi;
		stock = STOCK_LINK
	   }
	:: d_step { STOCK_AT(STOCK_READ) -> SAY_STOCK; stock = DONE }	/* its context has ended */
	:: d_step { STOCK_AT(STOCK_HOLD) -> SAY_STOCK;
		stocking = 0;
		if
		:: LOCK && maker[LOCK] == MAX -> nameLock(0)
		:: else
		fi;
		stock = STOCK_RMSTOP
	   }
	:: d_step { STOCK_AT(STOCK_RMSTOP) -> SAY_STOCK;
		if
		:: STOP -> dropStop()
		:: else
		fi;
		left--;
		if
		:: left -> stock = STOCK_LINK
		:: else -> stock = DONE
		fi
	   }
	:: stock == DONE || stock == DEAD -> break
	od
}
#endif

init {
	d_step {
		#ifdef STOCK
		stock = STOCK_LINK; dirty = 1;
#endif
		pc[0] = START; rounds[0] = ROUNDS;
		pc[1] = START; rounds[1] = ROUNDS;
#if N > 2
		pc[2] = START; rounds[2] = ROUNDS;
#endif
#ifdef CORPSE
		LOCK = 1; kind[1] = CORPSE - 1; dirty = 1;
#ifdef STOCK
		maker[1] = GHOST;
#endif
#endif
#ifdef LITTER
		TEMP[0] = 2; STOP = NL+1; dirty = 1;
#endif
	}
	atomic {
		run Fate(); run Process(0); run Process(1);
#if N > 2
		run Process(2);
#endif
#ifdef STOCK
		run Stock();
#endif
	}
}
